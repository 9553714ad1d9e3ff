"""The reason of an admin action: each invalid one has its own error."""

import httpx
import pytest
import pytest_asyncio

from tests.http.conftest import Person, body
from tests.http.document import Documented, operations
from tests.http.test_admin import make_admin

pytestmark = pytest.mark.asyncio(loop_scope="module")
TOO_LONG = {"message": "原因过长", "error": "原因最多 500 个字符"}
UNPRINTABLE = {"message": "原因不合法", "error": "原因须为一行可打印的文字"}
REFUSED = {
    "none": ("", {"message": "缺少原因"}),
    "blank": (" \t\n ", {"message": "缺少原因"}),
    "very long": ("x" * 10_000, TOO_LONG),
    "one too long": ("字" * 501, TOO_LONG),
    "two lines": ("a\nb", UNPRINTABLE),
    "steers a terminal": ("\x1b[2J", UNPRINTABLE),
}


def body_schema(operation: Documented) -> dict[str, object]:
    content = operation.says.get("requestBody", {}).get("content", {})
    found: dict[str, object] = content.get("application/json", {}).get("schema", {}).get("properties", {})
    return found


WITH_REASON = [operation for operation in operations() if "reason" in body_schema(operation)]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def ada(person: Person, module_database_url: str) -> dict[str, str]:
    headers = await person("ada")
    await make_admin(module_database_url, "ada")
    await person("ann")
    return headers


async def test_there_are_routes_with_a_reason() -> None:
    assert len(WITH_REASON) >= 7


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def path_words(client: httpx.AsyncClient, ada: dict[str, str]) -> dict[str, object]:
    users = (await client.get("/user/all")).json()["users"]
    (ann,) = [user["id"] for user in users if user["username"] == "ann"]
    return {"username": "ann", "id": ann, "name": "users"}


@pytest.mark.parametrize("row", REFUSED)
@pytest.mark.parametrize("operation", WITH_REASON, ids=lambda operation: operation.path)
async def test_a_reason_is_refused_by_what_is_wrong_with_it(
    client: httpx.AsyncClient,
    ada: dict[str, str],
    path_words: dict[str, object],
    operation: Documented,
    row: str,
) -> None:
    reason, expected = REFUSED[row]
    form = operation.says["requestBody"]["content"]["application/json"]["example"] | {"reason": reason}
    path = operation.path.format_map(path_words)
    reply = await client.request(operation.method, path, json=form, headers=ada)
    assert (reply.status_code, body(reply)) == (400, expected)


async def test_the_longest_reason_goes(client: httpx.AsyncClient, ada: dict[str, str]) -> None:
    form = {"change": 1, "reason": f"  {'字' * 500}  "}
    reply = await client.post("/admin/users/ann/points", json=form, headers=ada)
    assert reply.status_code == 200
