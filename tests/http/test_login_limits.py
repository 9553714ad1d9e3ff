"""Only failed logins count, none exceeds the limit, and known addresses of the owner are not blocked."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import psycopg
import pytest
import pytest_asyncio

from huajuan.auth.passwords import Passwords
from huajuan.auth.rate_limits import LoginAttemptLimits
from tests.http.addresses import BEHIND_PROXY, ELSEWHERE, HOME, TOO_MANY, at, log_in, register
from tests.http.conftest import body
from tests.http.test_admin import make_admin
from tests.services import client_of

pytestmark = pytest.mark.asyncio(loop_scope="module")
PLENTY = LoginAttemptLimits(address_failures_max=1_000)
Clients = tuple[httpx.AsyncClient, httpx.AsyncClient]


@asynccontextmanager
async def two_workers(dsn: str, **changes: Any) -> AsyncIterator[Clients]:
    given = BEHIND_PROXY | {"login": PLENTY} | changes
    async with client_of(dsn, **given) as here, client_of(dsn, **given) as there:
        assert (await register(here, "ann")).status_code == 200
        yield here, there


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(module_database_url: str) -> AsyncIterator[Clients]:
    """Two workers, shared by tests that use different accounts."""
    async with two_workers(module_database_url) as clients:
        yield clients


async def fail(client: httpx.AsyncClient, address: str, times: int = 10, name: str = "ann") -> list[int]:
    replies = [await log_in(client, name, address, "wrong!") for _ in range(times)]
    return [reply.status_code for reply in replies]


async def test_right_passwords_at_once_all_get_in_and_count_nowhere(database_url: str) -> None:
    """Repeatedly more concurrent logins than either limit, at both workers."""
    limits = LoginAttemptLimits(account_failures_max=3, address_failures_max=5)
    async with two_workers(database_url, login=limits) as clients:
        for _ in range(3):
            replies = await asyncio.gather(*(log_in(clients[n % 2], "ann") for n in range(12)))
            assert [reply.status_code for reply in replies] == [200] * 12
        assert await fail(clients[0], ELSEWHERE, 3) == [401] * 3


async def test_an_attempt_under_way_holds_others_back_for_a_moment_only(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = asyncio.Event()
    real = Passwords.match

    async def slow(self: Passwords, password: str, password_hash: str | None) -> bool:
        await release.wait()
        return await real(self, password, password_hash)

    limits = LoginAttemptLimits(account_failures_max=1, wait_seconds=0.2)
    async with two_workers(database_url, login=limits) as (here, there):
        monkeypatch.setattr(Passwords, "match", slow)
        first = asyncio.create_task(log_in(here, "ann"))
        reply = await log_in(there, "ann")
        while reply.status_code != 429:  # the other login has not been counted yet
            reply = await log_in(there, "ann")
        assert (body(reply), reply.headers["retry-after"]) == (TOO_MANY, "1")
        release.set()
        assert (await first).status_code == 200
        assert (await log_in(there, "ann")).status_code == 200


async def test_wrong_passwords_at_once_never_exceed_a_limit(database_url: str) -> None:
    limits = LoginAttemptLimits(account_failures_max=4, address_failures_max=6)
    async with two_workers(database_url, login=limits) as clients:
        names = ["ann", "nobody", "noone"]
        replies = await asyncio.gather(
            *(log_in(clients[n % 2], names[n % 3], HOME, "wrong!") for n in range(36))
        )
        statuses = [reply.status_code for reply in replies]
        assert statuses.count(401) == 6
        assert statuses.count(429) == 30
        assert max(statuses[0::3].count(401), statuses[1::3].count(401), statuses[2::3].count(401)) <= 4
        assert {int(reply.headers["retry-after"]) > 1 for reply in replies if reply.status_code == 429} == {
            True
        }


@pytest.mark.parametrize("name", ["owner", "admin"])
async def test_the_owner_gets_in_from_where_they_logged_in_before(
    pair: Clients, module_database_url: str, name: str
) -> None:
    here, there = pair
    await register(here, name)
    if name == "admin":
        await make_admin(module_database_url, name)
    assert (await log_in(here, name, HOME)).status_code == 200
    assert await fail(there, ELSEWHERE, 11, name) == [401] * 10 + [429]
    assert (await log_in(here, name, "192.0.2.3")).status_code == 429
    for client in pair:
        assert (await log_in(client, name, HOME)).status_code == 200
    assert (await log_in(here, name, ELSEWHERE)).status_code == 429, "the others stay locked out"


async def test_failures_at_a_known_address_are_counted_apart(pair: Clients) -> None:
    here, there = pair
    await register(here, "apart")
    await log_in(here, "apart", HOME)
    assert await fail(here, HOME, 11, "apart") == [401] * 10 + [429]
    assert (await log_in(there, "apart", HOME)).status_code == 429
    assert (await log_in(there, "apart", ELSEWHERE)).status_code == 200


async def test_an_address_is_known_to_the_account_that_logged_in_there_alone(pair: Clients) -> None:
    here, _ = pair
    for name in ("alone", "ben"):
        await register(here, name, "192.0.2.1")
    await log_in(here, "ben", HOME)
    assert await fail(here, ELSEWHERE, 10, "alone") == [401] * 10
    assert (await log_in(here, "alone", HOME)).status_code == 429


async def test_a_wrong_password_makes_no_address_known(pair: Clients) -> None:
    here, _ = pair
    await register(here, "wrong")
    assert await fail(here, HOME, 1, "wrong") == [401]
    assert await fail(here, ELSEWHERE, 10, "wrong") == [401] * 9 + [429]
    assert (await log_in(here, "wrong", HOME)).status_code == 429


async def test_an_ipv6_address_is_known_by_its_64_bits(pair: Clients) -> None:
    here, _ = pair
    await register(here, "six")
    await log_in(here, "six", "2001:db8:1:2::1")
    assert await fail(here, ELSEWHERE, 10, "six") == [401] * 10
    assert (await log_in(here, "six", "2001:db8:1:2:ffff::7")).status_code == 200
    assert (await log_in(here, "six", "2001:db8:1:3::1")).status_code == 429


async def test_failures_from_ipv6_are_counted_by_64_bits(database_url: str) -> None:
    async with client_of(
        database_url, **BEHIND_PROXY, login=LoginAttemptLimits(address_failures_max=5)
    ) as client:
        replies = [await log_in(client, f"nobody{n}", f"2001:db8:9:9::{n}", "wrong!") for n in range(6)]
        assert [reply.status_code for reply in replies] == [401] * 5 + [429]
        assert (await log_in(client, "nobody", "2001:db8:9:a::1", "wrong!")).status_code == 401


async def test_the_right_password_of_a_banned_account_is_no_failure(
    pair: Clients, module_database_url: str
) -> None:
    here, _ = pair
    for name in ("ada", "banned"):
        await register(here, name)
    await make_admin(module_database_url, "ada")
    ada = {"Authorization": (await log_in(here, "ada")).json()["token"]}
    await here.post("/admin/users/banned/ban", json={"reason": "spam"}, headers=ada)
    assert [(await log_in(here, "banned")).status_code for _ in range(12)] == [403] * 12
    assert await fail(here, HOME, 11, "banned") == [401] * 10 + [429]


async def test_a_reply_that_is_replayed_is_no_attempt(pair: Clients, module_database_url: str) -> None:
    here, _ = pair
    await register(here, "keyed")
    key = {"Idempotency-Key": "once"}
    replies = [await log_in(client, "keyed", HOME, "wrong!", **key) for client in pair * 8]
    assert [reply.status_code for reply in replies] == [401] * 16
    assert await fail(here, HOME, 10, "keyed") == [401] * 9 + [429]
    again = {"Idempotency-Key": "later"}
    assert (await log_in(here, "keyed", HOME, **again)).status_code == 429
    with psycopg.connect(module_database_url) as connection:
        connection.execute("DELETE FROM operations.counted_attempts")
    assert (await log_in(here, "keyed", HOME, **again)).status_code == 200, "a 429 is not kept"


async def test_erasure_removes_the_known_addresses(pair: Clients, module_database_url: str) -> None:
    here, _ = pair
    await register(here, "gone")
    before = known(module_database_url)
    token = (await log_in(here, "gone")).json()["token"]
    assert known(module_database_url) == before + 1
    reply = await here.delete("/auth/root/deleteOneUser?isOwn=true", headers=at(HOME, Authorization=token))
    assert reply.status_code == 200
    assert known(module_database_url) == before


def known(dsn: str) -> int:
    with psycopg.connect(dsn) as connection:
        return connection.execute("SELECT address FROM operations.known_addresses").rowcount
