"""Health, readiness, and the OpenAPI document for operators."""

from typing import Any

import httpx
import psycopg
import pytest

from huajuan.event_store.errors import DatabaseUnavailable
from huajuan.projections.engine.table import ReadTables
from huajuan.projections.registry import PROJECTIONS
from huajuan.projections.users import USERS
from tests.http.conftest import Person, body

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_health(client: httpx.AsyncClient) -> None:
    assert body(await client.get("/healthz")) == {"message": "操作成功"}


async def test_ready(client: httpx.AsyncClient, person: Person) -> None:
    await person()
    reply = await client.get("/readyz")
    ready = body(reply)
    assert (reply.status_code, ready["database"]) == (200, True)
    assert set(ready["projections"]) == {projection.schema for projection in PROJECTIONS}
    assert ready["projections"][USERS.schema]["lag_events"] == 0


async def test_not_ready_without_a_database(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> None:
        raise DatabaseUnavailable

    monkeypatch.setattr(ReadTables, "all", away)
    reply = await client.get("/readyz")
    assert (reply.status_code, body(reply)["database"]) == (503, False)


async def test_not_ready_while_a_projection_is_stopped(
    client: httpx.AsyncClient, module_database_url: str
) -> None:
    with psycopg.connect(module_database_url, autocommit=True) as connection:
        change = "UPDATE operations.checkpoints SET stopped_at = %s, stopped_by = %s WHERE projection = %s"
        connection.execute(change, (1, "ZeroDivisionError", USERS.schema))
        reply = await client.get("/readyz")
        connection.execute(change, (None, None, USERS.schema))
    assert reply.status_code == 503
    assert body(reply)["projections"][USERS.schema]["stopped_by"] == "ZeroDivisionError"


async def document(client: httpx.AsyncClient) -> dict[str, Any]:
    read: dict[str, Any] = (await client.get("/schema/openapi.json")).json()
    return read


async def test_each_reply_of_the_document_has_a_schema_and_an_example(client: httpx.AsyncClient) -> None:
    for path, methods in (await document(client))["paths"].items():
        for operation in methods.values():
            for status, reply in operation["responses"].items():
                for media in reply.get("content", {}).values():
                    assert media["schema"], (path, status)
                    if not path.endswith("{key}"):
                        assert media.get("examples") or media["example"], (path, status)


async def test_each_example_has_its_status_as_code(client: httpx.AsyncClient) -> None:
    for methods in (await document(client))["paths"].values():
        for operation in methods.values():
            for status, reply in operation["responses"].items():
                for media in reply.get("content", {}).values():
                    if media["schema"] == {"type": "string"}:
                        continue
                    for example in media.get("examples", {}).values():
                        assert example["value"]["code"] == int(status)


async def test_the_document_says_what_a_body_must_be(client: httpx.AsyncClient) -> None:
    content = (await document(client))["paths"]["/auth/generate"]["post"]["requestBody"]["content"]
    schema = content["application/json"]["schema"]
    assert schema["properties"]["width"] == {
        "type": "integer", "minimum": 128, "maximum": 1024,
        "description": "The width of the picture in pixels.",
    }  # fmt: skip
    assert set(schema["required"]) == {"prompt", "width", "height", "steps", "seed"}
    assert content["application/json"]["example"]["width"] == 220
