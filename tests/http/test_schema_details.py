"""The OpenAPI document describes every property and lists the values that the code can return."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

import huajuan
from huajuan.audit.hash_chain import Kind
from huajuan.audit.ledger import POSTINGS
from huajuan.event_store.personal_keys import ERASED
from huajuan.http.event_messages import SENTENCES
from huajuan.http.generation_status import JobProgress
from huajuan.http.openapi.descriptions import OF_PROPERTY, OF_STRUCT
from huajuan.http.openapi.schemas import VALUES
from huajuan.http.request import SAMPLING_METHODS
from huajuan.http.routes.health import _points, _status
from huajuan.jobs.dispatcher import NO_SERVER_AVAILABLE
from huajuan.projections.generations import STATUSES
from huajuan.projections.point_history import POINT_HISTORY
from huajuan.projections.queries.points import HOLD_STATUSES
from huajuan.projections.registry import PROJECTIONS
from tests.http.document import Json, document, operations
from tests.projections.test_folds import HISTORY_EVENTS, rows_of

PACKAGE = Path(huajuan.__file__).parent
SCHEMAS: dict[str, Json] = document()["components"]["schemas"]
# Properties of these names list their values, except for free text.
WORDS = {"reason", "event", "status", "what", "kind", "outcome", "sampling_method", "stopped_event"}
TYPED = {("SkipOnWire", "reason"), ("InferenceServerOnWire", "reason")}


def bodies() -> Iterator[Json]:
    for operation in operations():
        for content in operation.says.get("requestBody", {}).get("content", {}).values():
            schema = content["schema"]
            yield from schema.get("anyOf") or schema.get("oneOf") or [schema]


def values_of(struct: str, name: str) -> tuple[set[str], bool]:
    """The documented values, and whether others are allowed."""
    part = SCHEMAS[struct]["properties"][name]
    parts = [part, *part.get("oneOf", ()), *part.get("anyOf", ())]
    listed = {value for one in parts for value in one.get("enum", ())}
    return listed, {"type": "string"} in part.get("anyOf", ())


def test_the_document_is_valid() -> None:
    OpenAPIV31SpecValidator(document()).validate()


def test_every_schema_has_a_title_of_its_own() -> None:
    assert {name: schema["title"] for name, schema in SCHEMAS.items()} == {name: name for name in SCHEMAS}


def test_every_property_of_a_reply_or_body_is_explained() -> None:
    schemas = [*SCHEMAS.values(), *bodies()]
    silent = [
        (schema.get("title"), name)
        for schema in schemas
        for name, part in schema.get("properties", {}).items()
        if not part.get("description")
    ]
    assert silent == [], "write them into huajuan/http/openapi/descriptions.py"


def test_every_parameter_is_explained() -> None:
    silent = [
        (operation.name, parameter["name"])
        for operation in operations()
        for parameter in operation.says.get("parameters", ())
        if not parameter.get("description")
    ]
    assert silent == []


def test_nothing_is_explained_that_is_not_there() -> None:
    titled = [*SCHEMAS.values(), *bodies()]
    there = {(schema.get("title", ""), name) for schema in titled for name in schema.get("properties", {})}
    bases = {(title.partition("By")[0], name) for title, name in there}
    assert {name for _, name in there} >= set(OF_PROPERTY) - {"ids", "urls"}
    assert {(struct, name) for struct, texts in OF_STRUCT.items() for name in texts} <= there | bases


def test_every_word_has_its_values() -> None:
    wordless = [
        (title, name)
        for title, schema in SCHEMAS.items()
        for name in schema.get("properties", {})
        if name in WORDS and (title, name) not in TYPED and not values_of(title, name)[0]
    ]
    assert wordless == []


def test_the_document_has_the_values_that_are_listed() -> None:
    for struct, of_struct in VALUES.items():
        for name, (values, others) in of_struct.items():
            assert values_of(struct, name) == (set(values), others)


def test_states_are_those_that_the_code_knows() -> None:
    for struct in ("JobOnWire", "JobResponse", "AcceptedResponse"):
        assert values_of(struct, "status") == (set(STATUSES), False)
    assert values_of("ChangeOnWire", "status") == (set(HOLD_STATUSES.values()), False)
    assert set(HOLD_STATUSES) == set(STATUSES)
    assert values_of("EntryOnWire", "status") == ({*HOLD_STATUSES.values(), "forfeited"}, False)
    ready = {_status(ready, impaired) for ready in (True, False) for impaired in (True, False)}
    assert values_of("ReadyResponse", "status") == (ready, False)
    assert values_of("ReadyResponse", "points") == ({_points(None), _points(0)}, True)
    assert values_of("ImageOnWire", "sampling_method") == (set(SAMPLING_METHODS), False)
    assert values_of("ProjectionOnWire", "name") == ({projection.name for projection in PROJECTIONS}, False)


def test_events_are_those_that_the_code_tells_of() -> None:
    assert values_of("LineOnWire", "event") == ({kind.TOPIC for kind in SENTENCES}, False)
    assert values_of("EntryOnWire", "what") == ({t.removeprefix("account.") for t in POSTINGS}, False)
    folded = frozenset[str]().union(*(projection.topics for projection in PROJECTIONS))
    for struct, name in (("ProjectionOnWire", "stopped_event"), ("SkipOnWire", "event")):
        assert folded <= values_of(struct, name)[0]


def test_causes_are_those_that_the_table_says() -> None:
    listed, others = values_of("ChangeOnWire", "reason")
    assert others
    assert {row.reason for row in rows_of(POINT_HISTORY, HISTORY_EVENTS).values()} - {None, "lost"} <= listed
    assert {"check_in", "held", "forfeited", "cancelled", NO_SERVER_AVAILABLE, ERASED} <= listed


def test_kinds_of_damage_are_those_that_are_named() -> None:
    """The type checker rejects other kinds; this test checks that each kind is used."""
    named = {text for path in (PACKAGE / "audit").glob("*.py") for text in _said(path)}
    assert values_of("DamageOnWire", "kind") == (set(get_args(Kind)), False)
    assert set(get_args(Kind)) <= named


def _said(path: Path) -> Iterator[str]:
    """Texts that the code returns or passes on."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        given: list[Any] = node.elts if isinstance(node, ast.Tuple) and isinstance(node.ctx, ast.Load) else []
        given += node.args if isinstance(node, ast.Call) else []
        yield from (
            one.value for one in given if isinstance(one, ast.Constant) and isinstance(one.value, str)
        )


def test_an_event_stream_is_a_text_whose_frames_are_explained() -> None:
    (follow,) = [one for one in operations() if one.path.endswith("/events")]
    content = follow.says["responses"]["200"]["content"]
    assert list(content) == ["text/event-stream"]
    schema = content["text/event-stream"]["schema"]
    assert schema["type"] == "string"
    assert all(
        word in schema["description"]
        for word in ("event: state", "event: progress", "JobOnWire", "JobProgress")
    )
    assert set(SCHEMAS["JobProgress"]["properties"]) == set(JobProgress.__struct_fields__)
    assert content["text/event-stream"]["example"].endswith("\n\n")


@pytest.mark.parametrize("path", ["/images/{key}", "/avatars/{key}"])
def test_a_picture_is_binary(path: str) -> None:
    for operation in operations():
        if operation.path == path:
            for status in ("200", "206"):
                schema = operation.says["responses"][status]["content"]["image/png"]["schema"]
                assert schema == {"type": "string", "format": "binary"}


def test_a_body_of_several_forms_says_what_each_holds() -> None:
    several = [schema for schema in bodies() if "By" in schema.get("title", "")]
    assert {(schema["title"], *schema["required"]) for schema in several} == {
        ("ImagesFormByIds", "ids"), ("ImagesFormByUrls", "urls"), ("FavoriteFormByUrl", "url"),
        ("FavoriteFormById", "id"),
    }  # fmt: skip
    assert all(set(schema.get("properties", {})) == set(schema["required"]) for schema in several)
