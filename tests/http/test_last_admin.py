"""Over HTTP the last admin can be neither banned nor erased; an operator can do so."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest

from huajuan.commands.moderation import ban_account, revoke_admin
from tests.event_store.helpers import opened
from tests.http.conftest import body
from tests.http.past import Headers
from tests.http.test_admin import make_admin
from tests.services import client_of

LAST = {"message": "最后一位管理员不可被封禁或删除"}
Act = Callable[[httpx.AsyncClient, str, Headers], Awaitable[httpx.Response]]
OWN = "/auth/root/deleteOneUser?isOwn=true"


@pytest.fixture
async def clients(database_url: str) -> AsyncIterator[tuple[httpx.AsyncClient, httpx.AsyncClient]]:
    async with client_of(database_url) as here, client_of(database_url) as there:
        yield here, there


async def admin(client: httpx.AsyncClient, dsn: str, name: str, *, role: bool = True) -> Headers:
    form = {"username": name, "email": f"{name}@example.org", "password": "secret"}
    assert (await client.post("/register", json=form)).status_code == 200
    if role:
        await make_admin(dsn, name)
    return {"Authorization": (await client.post("/login", json=form)).json()["token"]}


async def ban(client: httpx.AsyncClient, name: str, by: Headers) -> httpx.Response:
    return await client.post(f"/admin/users/{name}/ban", json={"reason": "spam"}, headers=by)


async def erase(client: httpx.AsyncClient, name: str, by: Headers) -> httpx.Response:
    return await client.delete(f"/auth/root/deleteOneUser?username={name}", headers=by)


async def test_the_last_admin_stays(
    clients: tuple[httpx.AsyncClient, httpx.AsyncClient], database_url: str
) -> None:
    here, there = clients
    ada = await admin(here, database_url, "ada")
    number = body(await here.get("/auth/user/info", headers=ada))["user"]["id"]
    by_id = await here.post(f"/admin/users/id/{number}/ban", json={"reason": "x"}, headers=ada)
    for reply in (await ban(here, "ada", ada), by_id, await here.delete(OWN, headers=ada)):
        assert (reply.status_code, body(reply)) == (409, LAST)
    ben = await admin(here, database_url, "ben")
    assert (await ban(there, "ben", ada)).status_code == 200
    for reply in (await ban(here, "ada", ada), await here.delete(OWN, headers=ada)):
        assert (reply.status_code, body(reply)) == (409, LAST), "another who is banned is no other"
    unbanned = await here.post("/admin/users/ben/unban", json={"reason": "sorry"}, headers=ada)
    assert unbanned.status_code == 200
    assert (await erase(there, "ada", ben)).status_code == 200
    assert (await here.delete(OWN, headers=ben)).status_code == 409, "another who is erased is no other"
    cleo = await admin(here, database_url, "cleo")
    async with opened(database_url) as store:
        await revoke_admin(store, store.stream_ids.account("cleo"), "on leave")
    assert (await here.delete(OWN, headers=ben)).status_code == 409, "another without the role is no other"
    assert (await here.delete(OWN, headers=cleo)).status_code == 200
    await admin(here, database_url, "dora")
    assert (await here.delete(OWN, headers=ben)).status_code == 200


@pytest.mark.parametrize("act", [ban, erase])
async def test_two_admins_who_act_on_each_other_at_once_leave_one(
    clients: tuple[httpx.AsyncClient, httpx.AsyncClient], database_url: str, act: Act
) -> None:
    here, there = clients
    for round_ in range(3):
        names = [f"{who}{round_}" for who in ("ada", "ben")]
        ada, ben = [await admin(here, database_url, name) for name in names]
        replies = await asyncio.gather(act(here, names[1], ada), act(there, names[0], ben))
        statuses = sorted(reply.status_code for reply in replies)
        # The second ban fails, because its target is the last admin or its sender is banned.
        assert statuses[0] == 200
        assert statuses[1] in {400, 401, 403, 409}
        left = [me for me in (ada, ben) if (await here.get("/auth/user/info", headers=me)).status_code == 200]
        assert len(left) == 1
        async with opened(database_url) as store:
            # An operator may ban the last admin; the next round starts without one.
            survivor = names[0] if left[0] is ada else names[1]
            await ban_account(store, store.stream_ids.account(survivor), "on the command line")


async def test_who_is_no_admin_is_banned_and_erased_as_ever(
    clients: tuple[httpx.AsyncClient, httpx.AsyncClient], database_url: str
) -> None:
    here, _ = clients
    ada = await admin(here, database_url, "ada")
    await admin(here, database_url, "ann", role=False)
    assert (await ban(here, "ann", ada)).status_code == 200
    assert (await erase(here, "ann", ada)).status_code == 200
