"""JSON schemas of the OpenAPI document: types of values, enumerations, and details of keys."""

import re
from collections.abc import Iterable, Iterator, Mapping
from inspect import cleandoc
from typing import Any, NamedTuple, get_args

import msgspec
from litestar.openapi.spec import Schema

from huajuan.audit.hash_chain import Kind
from huajuan.audit.ledger import TOPICS
from huajuan.commands.generate_image import CANCELLED, WAITED_TOO_LONG
from huajuan.domain.aggregate import AggregateRoot
from huajuan.domain.registry import AGGREGATES
from huajuan.event_store.personal_keys import ERASED
from huajuan.http.event_messages import SENTENCES
from huajuan.http.generation_status import JobProgress
from huajuan.http.openapi.descriptions import OF_PATH, description_of
from huajuan.http.request import SAMPLING_METHODS
from huajuan.http.serializers import PICTURE_KEY
from huajuan.jobs.dispatcher import NO_SERVER_AVAILABLE
from huajuan.jobs.outcomes import OWNER_GONE
from huajuan.jobs.runner import TOO_LONG
from huajuan.projections.engine.status import OUTCOMES
from huajuan.projections.generations import STATUSES
from huajuan.projections.point_history import Cause
from huajuan.projections.queries.images import Sort
from huajuan.projections.registry import PROJECTIONS

TEXT: dict[str, Any] = {"type": "string", "minLength": 1}
COUNT: dict[str, Any] = {"type": "integer", "minimum": 0, "maximum": 2**63 - 1}
NUMBER = COUNT | {"minimum": 1}
DATE: dict[str, Any] = {"type": "string", "format": "date"}
TIME = {"anyOf": [DATE, {"type": "string", "format": "date-time"}]}
# A parameter has the same schema in every operation.
PARAMETER_SCHEMAS: Mapping[str, dict[str, Any]] = {
    "sort": {"type": "string", "enum": list(get_args(Sort)), "default": "time"},
    "order": {"type": "string", "enum": ["asc", "desc"], "default": "asc"},
    "sampling_method": {"type": "string", "enum": list(SAMPLING_METHODS)},
    **dict.fromkeys(("username", "prompt", "url", "after", "feature"), TEXT),
    **dict.fromkeys(("width", "height", "steps"), COUNT),
    **dict.fromkeys(("start_time", "end_time"), TIME),
    "as_of": {"anyOf": [COUNT, *TIME["anyOf"]]},
    "format": {"type": "string", "enum": ["json", "csv", "csv-excel"], "default": "json"},
    **dict.fromkeys(("id", "generation"), NUMBER),
    "status": {"type": "string", "enum": list(STATUSES)},
    "key": {"type": "string", "pattern": f"^{PICTURE_KEY.pattern}$"},
    "limit": NUMBER,
    **dict.fromkeys(("from", "to"), DATE),
    "name": {"type": "string", "pattern": "^[a-z_]+$"},
    "isOwn": {"type": "boolean", "default": False},
}


def schema_of(described: Mapping[str, Any]) -> Schema:
    """Litestar's form of a JSON schema."""
    return Schema(**{_attribute(key): _part(key, value) for key, value in described.items()})


def _attribute(key: str) -> str:
    return re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", key)


def _part(key: str, value: Any) -> Any:
    if key == "properties":
        return {name: schema_of(part) for name, part in value.items()}
    if key in ("anyOf", "oneOf"):
        return [schema_of(part) for part in value]
    return schema_of(value) if key == "items" else value


# The states of `/readyz`, and those of the points in it.
READY, DEGRADED, UNREADY = "ready", "degraded", "unready"
BALANCED, UNKNOWN = "balanced", "unknown"


class Values(NamedTuple):
    """The values of a property; with `others` it may also be any other text."""

    values: tuple[str, ...]
    others: bool = False


def _values(values: Iterable[str], *, others: bool = False) -> Values:
    return Values(tuple(dict.fromkeys(values)), others)


_EVENTS = [
    str(topic)
    for kind in AGGREGATES
    for event in vars(kind).values()
    if isinstance(event, type)
    and issubclass(event, AggregateRoot.Event)
    and (topic := getattr(event, "TOPIC", None))
]
_NO_PICTURE = (CANCELLED, WAITED_TOO_LONG, NO_SERVER_AVAILABLE, TOO_LONG, OWNER_GONE)
_FAILURE = {"reason": _values(_NO_PICTURE, others=True)}
_METHOD = {"sampling_method": _values(SAMPLING_METHODS)}

VALUES: Mapping[str, Mapping[str, Values]] = {
    "AcceptedResponse": _FAILURE,
    "JobOnWire": _FAILURE,
    "JobResponse": _FAILURE,
    "ImageOnWire": _METHOD,
    "FavoriteOnWire": _METHOD,
    "SquareOnWire": _METHOD,
    "ImageThen": _METHOD,
    "ChangeOnWire": {"reason": _values((*get_args(Cause), *_NO_PICTURE, ERASED), others=True)},
    "EntryOnWire": {
        "what": _values(topic.removeprefix("account.") for topic in TOPICS),
        "reason": _values((*_NO_PICTURE, ERASED), others=True),
    },
    "LineOnWire": {"event": _values(kind.TOPIC for kind in SENTENCES)},
    "SkipOnWire": {"event": _values(_EVENTS)},
    "ProjectionOnWire": {
        "name": _values(projection.name for projection in PROJECTIONS),
        "stopped_event": _values(_EVENTS),
    },
    "RebuildOnWire": {"outcome": _values(OUTCOMES, others=True)},
    "DamageOnWire": {"kind": _values(get_args(Kind))},
    "ReadyResponse": {
        "status": _values((READY, DEGRADED, UNREADY)),
        "points": _values((BALANCED, UNKNOWN), others=True),
    },
}


Json = dict[str, Any]


def add_details(document: Json) -> None:
    schemas: dict[str, Json] = document["components"]["schemas"]
    # The data of a frame of the event stream; it is no response body of its own.
    described = {"title": JobProgress.__name__, "description": cleandoc(str(JobProgress.__doc__))}
    schema = msgspec.json.schema(JobProgress)["$defs"][JobProgress.__name__]
    schemas[JobProgress.__name__] = schema | described
    for name, schema in schemas.items():
        _add_to(name, schema)
    for item in document["paths"].values():
        for operation in item.values():
            for schema in _bodies(operation):
                _add_to(schema["title"], schema)
            for response in operation["responses"].values():
                _add_binary(response.get("content", {}))
            for parameter in operation.get("parameters", ()):
                if parameter["in"] == "path":
                    parameter.setdefault("description", OF_PATH.get(parameter["name"], ""))


def _add_binary(contents: Json) -> None:
    """Without this, generated clients read a picture as text."""
    for kind, content in contents.items():
        if kind.startswith("image/"):
            content["schema"] = {"type": "string", "format": "binary"}


def _bodies(operation: Json) -> Iterator[Json]:
    """A body is one object, or one of several."""
    for content in operation.get("requestBody", {}).get("content", {}).values():
        schema = content["schema"]
        alternatives = schema.get("anyOf") or schema.get("oneOf") or [schema]
        yield from (alternative for alternative in alternatives if "title" in alternative)


def _add_to(struct: str, schema: Json) -> None:
    for name, part in schema.get("properties", {}).items():
        if text := description_of(struct, name):
            part.setdefault("description", text)
        _part_from_null(part)
        _move_format(part)
        if values := VALUES.get(struct, {}).get(name):
            _add_values(part, values)


def _part_from_null(part: Json) -> None:
    """An enumeration with null becomes `oneOf` an enumeration and null."""
    if None in part.get("enum", ()):
        values = [value for value in part.pop("enum") if value is not None]
        part.pop("type")
        part["oneOf"] = [{"type": "string", "enum": values}, {"type": "null"}]


def _move_format(part: Json) -> None:
    """Move a format from a nullable property to its text."""
    for text in _texts(part):
        if "format" in part and text is not part:
            text["format"] = part.pop("format")


def _add_values(part: Json, values: Values) -> None:
    for text in _texts(part):
        text["enum"] = list(values.values)
        if values.others:
            _allow_others(part, text)


def _allow_others(part: Json, text: Json) -> None:
    if text is part:
        part["anyOf"] = [{"type": part.pop("type"), "enum": part.pop("enum")}, {"type": "string"}]
    else:
        part["anyOf"] = [*part.pop("oneOf"), {"type": "string"}]


def _texts(part: Json) -> list[Json]:
    return [one for one in part.get("oneOf", [part]) if one.get("type") == "string"]
