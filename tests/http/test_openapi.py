"""Every operation does what the OpenAPI document says."""

from typing import Any, get_args

import jsonschema_rs
import pytest

from huajuan.http.openapi.document import TAGS
from huajuan.http.request import SAMPLING_METHODS
from huajuan.projections.queries.images import Sort
from tests.http.document import SETTINGS, Documented, Json, closed, document, operations, schemas

OPERATIONS = operations(closed())
each_operation = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
# Fields that are absent in some replies: `error` with a token, `success` if the whole service is busy, and
# `token` without a new password.
SOMETIMES = {
    *(
        ("OptionalErrorResponse", "error"),
        ("OptionalResultResponse", "success"),
        ("UpdatedResponse", "token"),
    ),
    *(("GeneratedResponse", "not_applied"), ("AcceptedResponse", "not_applied")),
}


def operation_of(name: str) -> Documented:
    return next(operation for operation in OPERATIONS if operation.name == name)


def parameters_of(name: str) -> dict[str, Json]:
    return {parameter["name"]: parameter for parameter in operation_of(name).says.get("parameters", ())}


def body_of(name: str) -> Json:
    content: Json = operation_of(name).says["requestBody"]["content"]["application/json"]
    return content


def faults(schema: Json, instance: Any) -> list[str]:
    """Why the instance does not conform to the schema."""
    complete = {**schema, "components": closed()["components"]}
    validator = jsonschema_rs.Draft202012Validator(complete, validate_formats=True)
    return [error.message for error in validator.iter_errors(instance)]


def test_every_operation_has_a_name_of_its_own() -> None:
    names = [operation.says["operationId"] for operation in OPERATIONS]
    assert len(names) == len(set(names)) > 20


def test_the_document_names_the_replies_to_requests_that_no_route_gets() -> None:
    about = document()["info"]["description"]
    for said in ("408 `请求超时`", "414 `请求地址过长`", "431 `请求头过大`", "400 `请求无效`"):
        assert said in about


@each_operation
def test_an_operation_says_in_a_line_what_it_does(operation: Documented) -> None:
    assert 0 < len(operation.says["summary"]) < 80
    assert not set("\n`") & set(operation.says["summary"])


@each_operation
def test_an_operation_stands_in_one_group_that_is_explained(operation: Documented) -> None:
    assert len(operation.says["tags"]) == 1
    assert operation.says["tags"][0] in {tag.name for tag in TAGS}


@each_operation
def test_a_token_is_asked_for_where_it_is_needed(operation: Documented) -> None:
    if operation.path.startswith(("/auth/", "/admin/")):
        assert operation.says["security"] == [{"token": []}]
        assert "401" in operation.says["responses"]
    else:
        assert "security" not in operation.says


def test_the_token_is_a_header() -> None:
    scheme = document()["components"]["securitySchemes"]["token"]
    assert (scheme["type"], scheme["in"], scheme["name"]) == ("apiKey", "header", "Authorization")


@each_operation
def test_every_reply_has_its_headers(operation: Documented) -> None:
    for status, reply in operation.says["responses"].items():
        assert reply["headers"]["X-Request-Id"]["required"]
        is_later = reply["headers"].get("Retry-After", {}).get("required", False)
        assert is_later == (status in {"429", "503"})


@each_operation
def test_whatever_writes_takes_a_key(operation: Documented) -> None:
    is_writing = operation.method != "get" or operation.path == "/auth/score"
    is_writing = is_writing and operation.method != "head"
    names = {parameter["name"] for parameter in operation.says.get("parameters", ())}
    assert ("Idempotency-Key" in names) == is_writing
    if is_writing:
        replies = operation.says["responses"]
        assert {"400", "409", "413", "422"} <= set(replies)
        assert "幂等键已用于其他请求" in [example["message"] for example in operation.examples("422")]
        assert "请求正在处理中" in [example.get("message") for example in operation.examples("409")]
        assert "Idempotency-Replayed" in replies["200"]["headers"]


@each_operation
def test_pages_are_linked(operation: Documented) -> None:
    names = {parameter["name"] for parameter in operation.says.get("parameters", ())}
    assert ("Link" in operation.says["responses"]["200"]["headers"]) == ("after" in names)


@pytest.mark.parametrize("path", ["/images/{key}", "/avatars/{key}"])
def test_pictures_are_tagged(path: str) -> None:
    for method in ("GET", "HEAD"):
        replies = operation_of(f"{method} {path}").says["responses"]
        assert all(replies[status]["headers"]["ETag"]["required"] for status in ("200", "206", "304"))
        assert "ETag" not in replies["404"]["headers"]


@each_operation
def test_examples_of_replies_are_replies(operation: Documented) -> None:
    for status, reply in operation.says["responses"].items():
        for example in operation.examples(status):
            assert faults(reply["content"]["application/json"]["schema"], example) == [], status


@each_operation
def test_an_example_of_a_body_is_a_body(operation: Documented) -> None:
    for content in operation.says.get("requestBody", {}).get("content", {}).values():
        if "example" in content:
            assert faults(content["schema"], content["example"]) == []


def test_what_a_reply_holds_it_always_holds() -> None:
    for name, schema in document()["components"]["schemas"].items():
        optional = set(schema.get("properties", ())) - set(schema.get("required", ()))
        assert {(name, key) for key in optional} <= SOMETIMES


def test_every_schema_is_one() -> None:
    found = list(schemas(document()))
    assert len(found) > 30
    for schema in found:
        jsonschema_rs.meta.validate(schema)
        assert set(schema.get("required", ())) <= set(schema["properties"])


@pytest.mark.parametrize(
    ("name", "required"),
    {
        "POST /register": {"email", "username", "password"},
        "POST /login": {"username", "password"},
        "POST /auth/like": {"url"},
        "POST /auth/setavatar": {"url"},
        "POST /auth/generate": {"prompt", "width", "height", "steps", "seed"},
        "PUT /auth/user/update": set(),
    }.items(),
)
def test_a_body_has_what_it_must_have(name: str, required: set[str]) -> None:
    assert operation_of(name).says["requestBody"]["required"]
    assert set(body_of(name)["schema"]["required"]) == required


@pytest.mark.parametrize(
    ("name", "body", "fits"),
    [
        ("POST /auth/addFavoritedImage", {}, False),
        ("POST /auth/addFavoritedImage", {"id": 0}, False),
        ("POST /auth/addFavoritedImage", {"id": 3}, True),
        ("POST /auth/user/deleteImages", {}, False),
        ("POST /auth/user/deleteImages", {"ids": [1]}, True),
        ("POST /auth/user/deleteImages", {"urls": ["/images/x.png"]}, True),
        ("POST /auth/user/deleteImages", {"ids": [1], "urls": ["/images/x.png"]}, False),
        ("POST /auth/user/deleteImages", {"ids": []}, False),
        ("POST /auth/user/deleteImages", {"ids": ["1"]}, False),
        ("POST /auth/user/restoreImages", {"names": [1]}, False),
        ("POST /auth/addFavoritedImage", {"id": 3, "url": "/images/x.png"}, True),
        ("POST /auth/generate", {**body_of("POST /auth/generate")["example"], "seed": ""}, False),
        ("POST /auth/generate", {**body_of("POST /auth/generate")["example"], "seed": 7}, True),
        ("POST /auth/generate", {**body_of("POST /auth/generate")["example"], "sampling_method": "x"}, False),
        ("POST /register", {"email": "3@qq.com", "username": "czh0", "password": "12345"}, False),
    ],
)
def test_a_body_is_told_from_what_is_none(name: str, body: Json, fits: bool) -> None:
    assert (faults(body_of(name)["schema"], body) == []) is fits


@pytest.mark.parametrize("name", ["GET /image/all", "GET /auth/user/images"])
def test_lists_say_what_their_parameters_may_be(name: str) -> None:
    given = {key: parameter["schema"] for key, parameter in parameters_of(name).items()}
    assert given["sort"]["enum"] == list(get_args(Sort))
    assert given["order"]["enum"] == ["asc", "desc"]
    assert given["sampling_method"]["enum"] == list(SAMPLING_METHODS)
    assert given["limit"] == {"type": "integer", "minimum": 1, "maximum": SETTINGS.list_rows_max}
    assert given["width"]["type"] == "integer"


@pytest.mark.parametrize(
    ("name", "required"),
    {
        "GET /auth/user/images/timeRange": {"start_time", "end_time"},
        "DELETE /auth/like": {"url"},
        "GET /auth/image": set(),
        "GET /images/{key}": {"key"},
    }.items(),
)
def test_a_query_has_what_it_must_have(name: str, required: set[str]) -> None:
    given = parameters_of(name)
    assert {key for key, parameter in given.items() if parameter["required"]} == required


def test_an_upload_is_a_form_with_a_file() -> None:
    content = operation_of("POST /auth/uploadavatar").says["requestBody"]["content"]
    assert content["multipart/form-data"]["schema"]["required"] == ["file"]


def test_point_history_may_be_csv() -> None:
    content = operation_of("GET /auth/points/history").says["responses"]["200"]["content"]
    assert content["text/csv"]["schema"] == {"type": "string"}
    names, example = content["text/csv"]["example"].splitlines()
    listed: Json = operation_of("GET /auth/points/history").examples("200")[0]["history"][0]
    assert names.split(",") == list(listed)
    assert example.split(",") == ["" if value is None else str(value) for value in listed.values()]
