"""Sessions over HTTP and across workers: how and when they end, and the limit of failed logins."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import psycopg
import pytest

from huajuan.auth.rate_limits import LoginAttemptLimits
from tests.http.conftest import body
from tests.services import client_of, until

ANN = {"username": "ann", "email": "ann@example.org", "password": "secret"}
INVALID = {"message": "无效的Token"}
Clients = tuple[httpx.AsyncClient, httpx.AsyncClient]
Headers = dict[str, str]


@pytest.fixture
async def clients(database_url: str) -> AsyncIterator[Clients]:
    """Two workers on one database. A registration has passed between them."""
    async with client_of(database_url) as here, client_of(database_url) as there:
        assert (await here.post("/register", json=ANN)).status_code == 200
        yield here, there


async def log_in(client: httpx.AsyncClient, password: str = "secret") -> Headers:
    reply = await client.post("/login", json={**ANN, "password": password})
    assert reply.status_code == 200, reply.text
    return {"Authorization": reply.json()["token"]}


async def status(client: httpx.AsyncClient, token: Headers) -> int:
    return (await client.get("/auth/user/info", headers=token)).status_code


async def is_out(client: httpx.AsyncClient, token: Headers) -> bool:
    return await status(client, token) == 401


async def test_logging_out_revokes_this_token_here_at_once_and_there_soon(clients: Clients) -> None:
    here, there = clients
    first, second = await log_in(here), await log_in(here)
    assert [await status(client, token) for client in clients for token in (first, second)] == [200] * 4
    reply = await here.post("/auth/logout", headers=first)
    assert (reply.status_code, body(reply)) == (200, {"message": "退出成功"})
    refused = await here.get("/auth/user/info", headers=first)
    assert (refused.status_code, body(refused)) == (401, INVALID)
    await until(lambda: is_out(there, first))
    assert [await status(client, second) for client in clients] == [200, 200]
    assert (await here.post("/auth/logout", headers=first)).status_code == 401


async def test_a_new_password_revokes_every_older_token_and_no_newer_one(clients: Clients) -> None:
    here, there = clients
    old = [await log_in(client) for client in clients]
    assert [await status(client, token) for client in clients for token in old] == [200] * 4
    changed = await here.put("/auth/user/update", json={"password": "another"}, headers=old[0])
    assert changed.status_code == 200
    new = await log_in(here, "another")  # within the same second as the change
    assert [await status(here, token) for token in old] == [401, 401]
    for token in old:
        await until(lambda token=token: is_out(there, token))  # type: ignore[misc]
    assert [await status(client, new) for client in clients] == [200, 200]


async def test_a_new_avatar_ends_no_session(clients: Clients) -> None:
    here, _ = clients
    token = await log_in(here)
    await here.put("/auth/user/update", json={"avatar_url": "https://example.org/a.png"}, headers=token)
    assert await status(here, token) == 200


async def test_what_a_worker_could_not_hear_it_does_not_miss(clients: Clients, database_url: str) -> None:
    here, there = clients
    token = await log_in(here)
    assert await status(there, token) == 200
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as knife:
        await knife.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND query LIKE 'LISTEN%' AND pid <> pg_backend_pid()"
        )
    await here.post("/auth/logout", headers=token)
    await until(lambda: is_out(there, token))


async def test_a_token_revoked_before_a_worker_started_is_revoked_there(database_url: str) -> None:
    async with client_of(database_url) as first:
        await first.post("/register", json=ANN)
        token = await log_in(first)
        await first.post("/auth/logout", headers=token)
    async with client_of(database_url) as second:
        assert await status(second, token) == 401


async def fail(client: httpx.AsyncClient, username: str = "ann") -> httpx.Response:
    return await client.post("/login", json={"username": username, "password": "wrong!"})


async def test_after_ten_failures_an_account_is_closed_for_a_while_in_every_worker(clients: Clients) -> None:
    replies = [await fail(clients[n % 2]) for n in range(10)]
    assert {reply.status_code for reply in replies} == {401}
    for client in clients:
        reply = await client.post("/login", json=ANN)
        assert (reply.status_code, body(reply)) == (429, {"message": "尝试次数过多，请稍后再试"})
        assert 1 <= int(reply.headers["retry-after"]) <= 15 * 60
    assert (await fail(clients[0], "nobody")).status_code == 401


async def test_of_many_failures_at_once_none_slips_past_the_limit(clients: Clients) -> None:
    replies = await asyncio.gather(*(fail(clients[n % 2]) for n in range(40)))
    assert [reply.status_code for reply in replies].count(401) == 10


async def test_a_success_clears_the_accounts_count(clients: Clients) -> None:
    for _ in range(3):
        for _ in range(9):
            assert (await fail(clients[0])).status_code == 401
        await log_in(clients[1])


async def test_an_address_that_fails_with_many_names_is_closed_too(database_url: str) -> None:
    limits = LoginAttemptLimits(address_failures_max=5)
    async with client_of(database_url, login=limits) as client:
        await client.post("/register", json=ANN)
        for _ in range(3):
            await log_in(client)  # a success is not counted
        replies = [await fail(client, f"nobody{n}") for n in range(7)]
        assert [reply.status_code for reply in replies] == [401] * 5 + [429] * 2
        assert (await client.post("/login", json=ANN)).status_code == 429


async def test_after_the_window_one_may_try_again(database_url: str) -> None:
    async with client_of(
        database_url, login=LoginAttemptLimits(account_failures_max=1, window_seconds=0.5)
    ) as client:
        await client.post("/register", json=ANN)
        assert [(await fail(client)).status_code for _ in range(2)] == [401, 429]
        await until(lambda: may_log_in(client))


async def may_log_in(client: httpx.AsyncClient) -> bool:
    return (await client.post("/login", json=ANN)).status_code == 200


async def test_what_is_counted_names_nobody(clients: Clients, database_url: str) -> None:
    await fail(clients[0])
    with psycopg.connect(database_url) as connection:
        rows = connection.execute("SELECT subject FROM operations.counted_attempts").fetchall()
    assert len(rows) == 2
    assert b"ann" not in b"".join(row[0] for row in rows)
