"""Registrations per address and hour, and closed registration."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import psycopg
import pytest
import pytest_asyncio

from huajuan.commands import accounts as registering
from huajuan.idempotency.service import Idempotency
from tests.http.addresses import BEHIND_PROXY, ELSEWHERE, TOO_MANY, at, form_of, log_in, register
from tests.http.conftest import body
from tests.services import client_of

pytestmark = pytest.mark.asyncio(loop_scope="module")
REGISTERED = {"message": "注册成功"}
CLOSED = {"message": "注册已关闭"}
Clients = tuple[httpx.AsyncClient, httpx.AsyncClient]


@asynccontextmanager
async def two_workers(dsn: str, per_hour: int = 3, **changes: Any) -> AsyncIterator[Clients]:
    given = BEHIND_PROXY | {"registrations_per_address_hour": per_hour} | changes
    async with client_of(dsn, **given) as here, client_of(dsn, **given) as there:
        yield here, there


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(module_database_url: str) -> AsyncIterator[Clients]:
    """Two workers, shared by tests that use different addresses."""
    async with two_workers(module_database_url) as clients:
        yield clients


def pass_time(dsn: str) -> None:
    """Moves the counting windows one hour back."""
    with psycopg.connect(dsn) as connection:
        connection.execute("UPDATE operations.counted_attempts SET ends_at = ends_at - interval '1 hour'")


async def test_an_address_opens_so_many_accounts_an_hour(pair: Clients, module_database_url: str) -> None:
    replies = [await register(pair[n % 2], f"ann{n}") for n in range(4)]
    assert [reply.status_code for reply in replies] == [200] * 3 + [429]
    assert body(replies[-1]) == TOO_MANY
    assert 3000 <= int(replies[-1].headers["retry-after"]) <= 3600
    assert (await register(pair[0], "ben", ELSEWHERE)).status_code == 200
    pass_time(module_database_url)
    assert (await register(pair[0], "ann3")).status_code == 200


async def test_of_many_at_once_no_more_get_through(pair: Clients) -> None:
    replies = await asyncio.gather(*(register(pair[n % 2], f"crowd{n}", "192.0.2.1") for n in range(12)))
    assert sorted(reply.status_code for reply in replies) == [200] * 3 + [429] * 9


async def test_what_was_refused_does_not_count(pair: Clients) -> None:
    address = "192.0.2.2"
    assert [(await register(pair[0], name, address)).status_code for name in ("cyd", "dan")] == [200] * 2
    for form in (form_of("cyd"), form_of("eve", email="cyd@example.org"), form_of(""), form_of("x" * 31)):
        for _ in range(3):
            reply = await pair[0].post("/register", json=form, headers=at(address))
            assert reply.status_code == 500, reply.text
    assert [(await register(pair[0], name, address)).status_code for name in ("eve", "fay")] == [200, 429]


async def test_ipv6_is_counted_by_64_bits(pair: Clients) -> None:
    replies = [await register(pair[0], f"six{n}", f"2001:db8:1:2:{n}::1") for n in range(4)]
    assert [reply.status_code for reply in replies] == [200, 200, 200, 429]
    assert (await register(pair[0], "another", "2001:db8:1:3::1")).status_code == 200


async def test_loopback_has_no_limit(pair: Clients) -> None:
    addresses = ["127.0.0.1"] * 4 + ["::1"] * 4 + ["127.9.9.9", "::ffff:127.0.0.1"]
    replies = [await register(pair[0], f"local{n}", address) for n, address in enumerate(addresses)]
    assert {reply.status_code for reply in replies} == {200}


async def test_0_sets_no_limit(database_url: str) -> None:
    async with client_of(database_url, **BEHIND_PROXY, registrations_per_address_hour=0) as client:
        assert [(await register(client, f"ann{n}")).status_code for n in range(4)] == [200] * 4


async def test_a_reply_that_is_replayed_does_not_count_again(pair: Clients, module_database_url: str) -> None:
    key, address = {"Idempotency-Key": "one"}, "192.0.2.3"
    replies = [await register(pair[n % 2], "keyed", address, **key) for n in range(6)]
    assert [(reply.status_code, body(reply)) for reply in replies] == [(200, REGISTERED)] * 6
    assert [(await register(pair[0], name, address)).status_code for name in ("gil", "hal")] == [200] * 2
    later = {"Idempotency-Key": "two"}
    assert (await register(pair[0], "ida", address, **later)).status_code == 429
    pass_time(module_database_url)
    assert (await register(pair[0], "ida", address, **later)).status_code == 200, "a 429 is not kept"


@pytest.mark.parametrize("registration", ["open", "closed"])
async def test_a_second_run_finds_its_account_and_counts_once(
    database_url: str, registration: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first run stored no reply; then the limit was reached, or registration was closed."""
    key = {"Idempotency-Key": "one"}
    async with two_workers(database_url, per_hour=2) as (here, _):
        with monkeypatch.context() as patch:

            async def die(*_: object) -> None:
                raise RuntimeError("killed")

            patch.setattr(Idempotency, "finish", die)
            with pytest.raises(httpx.HTTPError):
                (await register(here, "ann", **key)).raise_for_status()
        assert (await register(here, "ben")).status_code == 200
        assert (await register(here, "cyd")).status_code == 429
    async with two_workers(database_url, per_hour=2, registration=registration) as (here, _):
        reply = await register(here, "ann", **key)
        assert (reply.status_code, body(reply)) == (200, REGISTERED)
        pass_time(database_url)
        with psycopg.connect(database_url) as connection:
            counted = connection.execute(
                "SELECT 1 FROM operations.counted_attempts WHERE is_counted"
            ).rowcount
        assert counted == 2


async def test_a_registration_that_fails_gives_its_place_back(
    pair: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:

        async def fail(*_: object, **__: object) -> None:
            raise RuntimeError("a fault")

        patch.setattr(registering, "_register", fail)
        replies = [await register(pair[0], "joe", "192.0.2.4") for _ in range(4)]
        assert [reply.status_code for reply in replies] == [500] * 4
    assert (await register(pair[0], "joe", "192.0.2.4")).status_code == 200


async def test_a_closed_service_opens_no_account_and_lets_those_in_who_have_one(database_url: str) -> None:
    async with client_of(database_url) as opened:
        await register(opened, "ann")
    async with client_of(database_url, registration="closed") as client:
        for form in (form_of("ben"), form_of("ann"), form_of(""), form_of("ben", password="x")):
            reply = await client.post("/register", json=form)
            assert (reply.status_code, body(reply)) == (403, CLOSED)
        assert (await client.post("/register", content=b"{")).status_code == 400
        assert (await log_in(client, "ann")).status_code == 200
        assert (await log_in(client, "ben")).status_code == 401
