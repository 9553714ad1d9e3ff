"""Admin actions on an account over HTTP."""

from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.http.conftest import Person, body
from tests.http.test_admin import make_admin

pytestmark = pytest.mark.asyncio(loop_scope="module")
WELL = {"message": "操作成功"}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def ada(person: Person, module_database_url: str) -> dict[str, str]:
    headers = await person("ada")
    await make_admin(module_database_url, "ada")
    return headers


async def test_points_are_given_and_taken_with_a_reason(
    client: httpx.AsyncClient, person: Person, ada: dict[str, str]
) -> None:
    ann = await person("ann", checked_in=True)

    async def adjust(**form: Any) -> tuple[int, dict[str, Any]]:
        reply = await client.post("/admin/users/ann/points", json=form, headers=ada)
        return reply.status_code, body(reply)

    assert await adjust(change=50, reason="sorry") == (200, {**WELL, "score": 150})
    assert await adjust(change=-30, reason="a mistake") == (200, {**WELL, "score": 120})
    assert await adjust(change=-121, reason="a mistake") == (409, {"message": "用户积分不足"})
    assert await adjust(change=-121, reason="theft", force=True) == (200, {**WELL, "score": -1})
    assert await adjust(change=50) == (400, {"message": "缺少原因"})
    assert await adjust(change=0, reason="none") == (400, {"message": "积分数量不合法"})
    assert await adjust(change="50", reason="sorry") == (400, {"message": "请求数据格式错误"})
    own = body(await client.get("/auth/user/info", headers=ann))
    assert own["user"]["score"] == -1


async def test_a_ban_ends_every_session_until_it_is_taken_back(
    client: httpx.AsyncClient, person: Person, ada: dict[str, str]
) -> None:
    ben = await person("ben")
    form = {"username": "ben", "password": "secret"}

    async def act(what: str, who: str = "ben", **reason: str) -> tuple[int, dict[str, Any]]:
        reply = await client.post(f"/admin/users/{who}/{what}", json=reason, headers=ada)
        return reply.status_code, body(reply)

    assert await act("ban") == (400, {"message": "缺少原因"})
    assert await act("unban", reason="x") == (409, {"message": "该账号未被封禁"})
    assert await act("ban", reason="spam") == (200, WELL)
    assert await act("ban", reason="spam") == (409, {"message": "该账号已被封禁"})
    assert (await client.get("/auth/user/info", headers=ben)).status_code == 401
    refused = await client.post("/login", json=form)
    assert (refused.status_code, body(refused)) == (403, {"message": "账号已被封禁"})
    assert await act("unban", reason="forgiven") == (200, WELL)
    assert (await client.post("/login", json=form)).status_code == 200
    assert (await client.get("/auth/user/info", headers=ben)).status_code == 200
    for what in ("ban", "unban"):
        assert await act(what, "nobody", reason="x") == (404, {"message": "用户不存在"})


async def test_only_admins_do_so(client: httpx.AsyncClient, person: Person) -> None:
    ann = await person()
    for what in ("points", "ban", "unban"):
        reply = await client.post(f"/admin/users/x/{what}", json={"change": 1, "reason": "x"}, headers=ann)
        assert (reply.status_code, body(reply)) == (403, {"message": "需要管理员权限"})
