"""With approval, a new account waits until an admin approves or rejects it."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import psycopg
import pytest
import pytest_asyncio

from huajuan.audit.connection import begin_snapshot, open_read_only
from huajuan.audit.replay import replay_all
from tests.http.addresses import form_of
from tests.http.conftest import body
from tests.http.test_admin import make_admin
from tests.services import client_of

pytestmark = pytest.mark.asyncio(loop_scope="module")
WELL = {"message": "操作成功"}
WAITS = {"message": "注册成功，请等待管理员批准"}
PENDING = {"message": "账号尚待批准"}
NOT_PENDING = {"message": "该账号并非待批准状态"}
Headers = dict[str, str]
GIVEN: dict[str, Any] = {"registration": "approval", "welcome_points": 40}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(module_database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(module_database_url, **GIVEN) as client:
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ada(client: httpx.AsyncClient, module_database_url: str) -> Headers:
    """An admin who registered while registration was open."""
    async with client_of(module_database_url) as opened:
        await opened.post("/register", json=form_of("ada"))
        await make_admin(module_database_url, "ada")
        return {"Authorization": (await opened.post("/login", json=form_of("ada"))).json()["token"]}


async def apply(client: httpx.AsyncClient, name: str) -> None:
    reply = await client.post("/register", json=form_of(name))
    assert (reply.status_code, body(reply)) == (200, WAITS)


async def act(
    client: httpx.AsyncClient, admin: Headers, what: str, name: str, **form: Any
) -> tuple[int, Any]:
    form = form or {"reason": "a colleague"}
    reply = await client.post(f"/admin/users/{name}/{what}", json=form, headers=admin)
    return reply.status_code, body(reply)


async def log_in(client: httpx.AsyncClient, name: str, **changes: Any) -> tuple[int, Any]:
    reply = await client.post("/login", json=form_of(name, **changes))
    return reply.status_code, body(reply)


async def waiting(client: httpx.AsyncClient, admin: Headers, **query: Any) -> list[str]:
    reply = await client.get("/admin/users/pending", params=query, headers=admin)
    assert (reply.status_code, reply.headers["cache-control"]) == (200, "no-store")
    return [user["username"] for user in reply.json()["users"]]


async def everybody(client: httpx.AsyncClient) -> set[str]:
    return {user["username"] for user in (await client.get("/user/all")).json()["users"]}


async def test_who_waits_is_let_in_by_an_admin_and_has_the_welcome_points_then(
    client: httpx.AsyncClient, ada: Headers
) -> None:
    await apply(client, "ann")
    assert await log_in(client, "ann") == (403, PENDING)
    assert await log_in(client, "ann", password="wrong!") == (401, {"message": "密码错误"})
    assert "ann" in await waiting(client, ada)
    assert "ann" not in await everybody(client)
    assert await act(client, ada, "approve", "ann") == (200, WELL)
    assert "ann" not in await waiting(client, ada)
    assert "ann" in await everybody(client)
    status, reply = await log_in(client, "ann")
    assert status == 200
    info = await client.get("/auth/user/info", headers={"Authorization": reply["token"]})
    assert info.json()["user"]["score"] == 40
    assert await act(client, ada, "approve", "ann") == (409, NOT_PENDING)
    assert await act(client, ada, "reject", "ann") == (409, NOT_PENDING)


async def test_who_is_rejected_is_forgotten_and_their_address_is_free(
    client: httpx.AsyncClient, ada: Headers
) -> None:
    await apply(client, "ben")
    assert await act(client, ada, "reject", "ben", reason="spam") == (200, WELL)
    assert await log_in(client, "ben") == (401, {"message": "用户不存在"})
    assert not {"ben"} & (await everybody(client) | set(await waiting(client, ada)))
    taken = await client.post("/register", json=form_of("ben"))
    assert (taken.status_code, body(taken)["error"]) == (500, "用户名已存在")
    again = await client.post("/register", json=form_of("ben2", email="ben@example.org"))
    assert (again.status_code, body(again)) == (200, WAITS)
    for what in ("approve", "reject"):
        assert await act(client, ada, what, "ben") == (404, {"message": "用户不存在"})


async def test_the_timeline_tells_it_in_two_languages(client: httpx.AsyncClient, ada: Headers) -> None:
    await apply(client, "cyd")
    await act(client, ada, "approve", "cyd", reason="a colleague")
    reply = await client.get("/admin/users/cyd/timeline", headers=ada)
    lines = [(line["event"], line["zh"], line["en"]) for line in reversed(reply.json()["timeline"])]
    assert lines[1:3] + lines[-2:-1] == [
        ("account.approval_requested", "注册待管理员批准，批准后获得 40 欢迎积分",
         "waits for an admin's approval, with 40 welcome points to come"),
        ("email_claim.claimed", "占用了一个邮箱地址", "claimed an e-mail address"),
        ("account.approved", "注册已获批准：a colleague（操作者：ada）",
         "was approved: a colleague (by ada)"),
    ]  # fmt: skip


@pytest.mark.parametrize("what", ["approve", "reject"])
async def test_an_act_needs_a_reason_and_an_account(
    client: httpx.AsyncClient, ada: Headers, what: str
) -> None:
    name = f"reasonless-{what}"
    await apply(client, name)
    for reason in ("", "  "):
        assert await act(client, ada, what, name, reason=reason) == (400, {"message": "缺少原因"})
    assert await act(client, ada, what, name, reason=1) == (400, {"message": "请求数据格式错误"})
    assert await act(client, ada, what, "nobody") == (404, {"message": "用户不存在"})
    assert await log_in(client, name) == (403, PENDING)


async def test_only_admins_decide_and_see_who_waits(client: httpx.AsyncClient, ada: Headers) -> None:
    await apply(client, "dan")
    await act(client, ada, "approve", "dan")
    dan = {"Authorization": (await log_in(client, "dan"))[1]["token"]}
    forbidden = (403, {"message": "需要管理员权限"})
    assert [await act(client, dan, what, "dan") for what in ("approve", "reject")] == [forbidden] * 2
    reply = await client.get("/admin/users/pending", headers=dan)
    assert (reply.status_code, body(reply)) == forbidden


async def test_an_act_with_a_key_is_done_once(client: httpx.AsyncClient, ada: Headers) -> None:
    for what in ("approve", "reject"):
        await apply(client, f"keyed-{what}")
        keyed = ada | {"Idempotency-Key": what}
        for _ in range(2):
            assert await act(client, keyed, what, f"keyed-{what}") == (200, WELL)


async def test_who_waits_may_be_banned_and_erased_too(client: httpx.AsyncClient, ada: Headers) -> None:
    for name in ("eve", "fay"):
        await apply(client, name)
    assert await act(client, ada, "ban", "eve", reason="spam") == (200, WELL)
    assert await log_in(client, "eve") == (403, {"message": "账号已被封禁"})
    assert await act(client, ada, "unban", "eve") == (200, WELL)
    assert await log_in(client, "eve") == (403, PENDING)
    gone = await client.delete("/auth/root/deleteOneUser", params={"username": "fay"}, headers=ada)
    assert gone.status_code == 200
    assert "fay" not in await waiting(client, ada)


async def test_the_list_is_paged_by_id(client: httpx.AsyncClient, ada: Headers) -> None:
    for n in range(3):
        await apply(client, f"page{n}")
    seen, query = [], {"limit": "2"}
    while True:
        reply = await client.get("/admin/users/pending", params=query, headers=ada)
        users = reply.json()["users"]
        assert all(user.keys() == {"id", "username", "email", "create_time"} for user in users)
        seen += users
        if "link" not in reply.headers:
            break
        query = {"limit": "2", "after": str(users[-1]["id"])}
        assert f"after={query['after']}" in reply.headers["link"]
    names = [user["username"] for user in seen]
    assert [name for name in names if name.startswith("page")] == ["page0", "page1", "page2"]
    assert [user["id"] for user in seen] == sorted({user["id"] for user in seen})
    for bad in ({"limit": "0"}, {"after": "x"}):
        reply = await client.get("/admin/users/pending", params=bad, headers=ada)
        assert (reply.status_code, body(reply)) == (
            400,
            {"message": "查询参数无效", "error": next(iter(bad))},
        )


@pytest.mark.parametrize("registration", ["open", "closed"])
async def test_whoever_waits_is_not_stranded_when_the_setting_changes(
    client: httpx.AsyncClient, ada: Headers, module_database_url: str, registration: str
) -> None:
    """The account gets the welcome points of the time of its registration."""
    name = f"later-{registration}"
    await apply(client, name)
    async with client_of(module_database_url, registration=registration, welcome_points=7) as changed:
        assert await log_in(changed, name) == (403, PENDING)
        assert name in await waiting(changed, ada)
        assert await act(changed, ada, "approve", name) == (200, WELL)
        token = {"Authorization": (await log_in(changed, name))[1]["token"]}
        assert (await changed.get("/auth/points", headers=token)).json()["score"] == 40


async def test_accounts_from_before_are_approved(client: httpx.AsyncClient, ada: Headers) -> None:
    assert (await log_in(client, "ada"))[0] == 200
    assert await act(client, ada, "approve", "ada") == (409, NOT_PENDING)


async def test_points_and_tables_agree_with_the_log(
    client: httpx.AsyncClient, module_database_url: str
) -> None:
    with open_read_only(module_database_url) as connection:
        begin_snapshot(connection)
        assert replay_all(connection).disagreement is None
    with psycopg.connect(module_database_url) as connection:
        rows = connection.execute("SELECT convert_from(state, 'UTF8') FROM log.huajuan_events").fetchall()
    assert not [state for (state,) in rows if "a colleague" in state or "spam" in state]
