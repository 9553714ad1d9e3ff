"""Cached replies are exact: clients read their own writes and never older data, on any worker or server."""

import asyncio
import dataclasses
import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import psycopg
import pytest

from huajuan.bootstrap import open_services
from huajuan.http.app import create_app
from huajuan.http.services import Services
from huajuan.projections.registry import SCHEMAS
from huajuan.projections.users import USERS
from huajuan.response_cache.versions import create_versions_file, open_versions_file
from huajuan.server.database import create_tables
from huajuan.server.limits import limits_of
from tests.http.conftest import ORDER, body
from tests.http.test_metrics import scrape
from tests.jobs.fake_server import FakeInferenceServer, opening
from tests.limits import split
from tests.loopback import NO_TLS
from tests.projections.rebuild.test_rebuild import run_rebuild
from tests.services import QUICK, client_of, serving, until

INFO, IMAGES, FAVORITES = "/auth/user/info", "/auth/user/images", "/auth/user/favoritedimages"
FREE: dict[str, Any] = {"check_in_limit": "none", "cache_lease_seconds": 0.6}
ROUNDS = 25


@asynccontextmanager
async def running_server(dsn: str, workers: int) -> AsyncIterator[list[httpx.AsyncClient]]:
    """A client for each worker; the workers share their cache versions."""
    create_tables(dsn)
    with TemporaryDirectory() as folder:
        own, limits = split(FREE)
        settings = dataclasses.replace(QUICK, database_url=dsn, storage_url=folder, **own)
        file = create_versions_file(Path(folder), SCHEMAS)
        async with AsyncExitStack() as stack:

            async def worker() -> httpx.AsyncClient:
                changes = open_versions_file(file, SCHEMAS)
                app = create_app(
                    settings,
                    lambda: open_services(
                        settings,
                        opening(FakeInferenceServer()),
                        changes,
                        limits=limits_of(settings, {}, **limits),
                    ),
                )
                address = await stack.enter_async_context(serving(app))
                return await stack.enter_async_context(
                    httpx.AsyncClient(base_url=address, timeout=30, verify=NO_TLS)
                )

            yield [await worker() for _ in range(workers)]


async def register_user(client: httpx.AsyncClient, name: str) -> dict[str, str]:
    form = {"username": name, "email": f"{name}@example.org", "password": "secret"}
    assert (await client.post("/register", json=form)).status_code == 200
    return {"Authorization": (await client.post("/login", json=form)).json()["token"]}


async def cache_hits(client: httpx.AsyncClient) -> float:
    return (await scrape(client)).of("huajuan_replies_remembered_total")


async def wait_until_cached(client: httpx.AsyncClient, me: dict[str, str], path: str = INFO) -> None:
    """Until a reply comes from the cache."""

    async def is_cached() -> bool:
        before = await cache_hits(client)
        assert (await client.get(path, headers=me)).status_code == 200
        return await cache_hits(client) > before

    await until(is_cached)


async def score(client: httpx.AsyncClient, me: dict[str, str]) -> int:
    found: int = (await client.get(INFO, headers=me)).json()["user"]["score"]
    return found


async def check_in(client: httpx.AsyncClient, me: dict[str, str]) -> int:
    balance: int = (await client.get("/auth/score", headers=me)).json()["score"]
    return balance


async def test_a_cached_reply_equals_the_first_but_for_its_request_id(database_url: str) -> None:
    async with client_of(database_url, **FREE) as client:
        me = await register_user(client, "ann")
        for path in (INFO, IMAGES, FAVORITES, f"{IMAGES}?limit=1"):
            first = await client.get(path, headers=me)
            await wait_until_cached(client, me, path)
            again = await client.get(path, headers={**me, "Origin": "http://localhost:8081"})
            assert (again.status_code, again.content) == (200, first.content)
            assert again.headers["content-type"] == first.headers["content-type"]
            assert again.headers["x-request-id"] != first.headers["x-request-id"]
            assert again.headers.get_list("access-control-allow-origin") == ["http://localhost:8081"]
            assert "access-control-allow-origin" not in (await client.get(path, headers=me)).headers


async def test_each_account_has_its_own_replies(database_url: str) -> None:
    async with client_of(database_url, **FREE) as client:
        ann, ben = await register_user(client, "ann"), await register_user(client, "ben")
        for me, name in ((ann, "ann"), (ben, "ben")):
            await wait_until_cached(client, me)
            assert (await client.get(INFO, headers=me)).json()["user"]["username"] == name


async def test_changes_by_other_accounts_are_seen_at_once(database_url: str) -> None:
    async with client_of(database_url, **FREE) as client:
        ann, ben = await register_user(client, "ann"), await register_user(client, "ben")
        await check_in(client, ann)
        drawn = (await client.post("/auth/generate", headers=ann, json=ORDER)).json()
        await client.post("/auth/addFavoritedImage", headers=ben, json={"url": drawn["image_url"]})
        for me, path in ((ann, IMAGES), (ben, FAVORITES)):
            await wait_until_cached(client, me, path)
        assert (await client.post("/auth/like", headers=ben, json={"url": drawn["image_url"]})).is_success
        for me, path in ((ann, IMAGES), (ben, FAVORITES)):
            assert (await client.get(path, headers=me)).json()["images"][0]["likecount"] == 1


async def test_a_revoked_token_gets_no_cached_reply(database_url: str) -> None:
    async with client_of(database_url, **FREE) as client:
        me = await register_user(client, "ann")
        await wait_until_cached(client, me)
        assert (await client.post("/auth/logout", headers=me)).is_success
        assert (await client.get(INFO, headers=me)).status_code == 401
        for headers in ({}, {"Authorization": "Bearer none"}):
            assert (await client.get(INFO, headers=headers)).status_code == 401


async def read_on(me: dict[str, str], clients: list[httpx.AsyncClient], ended: asyncio.Event) -> None:
    """With clients of its own: the connection pool of a shared client is not fair."""
    async with AsyncExitStack() as stack:
        own = [httpx.AsyncClient(base_url=client.base_url, timeout=30, verify=NO_TLS) for client in clients]
        for client in own:
            await stack.enter_async_context(client)
        newest = 0
        while not ended.is_set():
            for client in own:
                found = await score(client, me)
                assert found >= newest
                newest = found


@pytest.mark.parametrize(("servers", "workers"), [(1, 1), (1, 2), (2, 1)])
async def test_reads_show_own_writes_and_never_go_backwards(
    database_url: str, servers: int, workers: int
) -> None:
    async with AsyncExitStack() as stack:
        groups = [
            await stack.enter_async_context(running_server(database_url, workers)) for _ in range(servers)
        ]
        clients = list(itertools.chain(*groups))
        people = [await register_user(clients[0], f"person{n}") for n in range(4)]
        ended = asyncio.Event()

        async def write(me: dict[str, str], number: int) -> None:
            for turn in range(ROUNDS):
                balance = await check_in(clients[(turn + number) % len(clients)], me)
                for client in clients:
                    assert await score(client, me) >= balance

        async with asyncio.TaskGroup() as group:
            for me in people + people:
                group.create_task(read_on(me, clients, ended))
            await asyncio.gather(*(write(me, number) for number, me in enumerate(people)))
            await asyncio.sleep(FREE["cache_lease_seconds"] * 2)
            ended.set()
        hits = [await cache_hits(client) for client in clients]
        assert all(hits) if servers == 1 else not any(hits)


async def test_a_server_caches_again_once_it_is_alone(database_url: str) -> None:
    async with running_server(database_url, 1) as (here,):
        me = await register_user(here, "ann")
        async with running_server(database_url, 1) as (elsewhere,):
            before = await cache_hits(here)
            balance = await check_in(elsewhere, me)
            for _ in range(20):
                assert await score(here, me) == balance
            assert await cache_hits(here) == before
        await wait_until_cached(here, me)


async def test_replies_from_before_a_swap_are_not_served(database_url: str) -> None:
    async with client_of(database_url, **FREE) as client:
        me = await register_user(client, "ann")
        await asyncio.to_thread(_damage_users, database_url)
        await wait_until_cached(client, me)
        assert (await client.get(INFO, headers=me)).json()["user"]["avatar_url"] == "damaged"
        report = await run_rebuild(database_url, (USERS,))
        assert [difference.table for difference in report.differences] == ["users"]
        assert (await client.get(INFO, headers=me)).json()["user"]["avatar_url"] == ""
        await wait_until_cached(client, me)
        assert body(await client.get(INFO, headers=me))["user"]["avatar_url"] == ""


def _damage_users(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute(f"UPDATE {USERS.schema}.users SET avatar_url = 'damaged'")


async def test_queries_count_for_the_memory_limit(database_url: str) -> None:
    async with client_of(database_url, **FREE, response_cache_bytes_max=20_000) as client:
        me = await register_user(client, "ann")
        await wait_until_cached(client, me)
        for n in range(8):
            assert (await client.get(f"{INFO}?{n}{'a' * 6_000}", headers=me)).is_success
        before = await cache_hits(client)
        await client.get(f"{INFO}?0{'a' * 6_000}", headers=me)
        assert await cache_hits(client) == before, "the oldest reply is removed"
        await client.get(f"{INFO}?7{'a' * 6_000}", headers=me)
        assert await cache_hits(client) == before + 1


async def test_a_limit_of_0_bytes_disables_the_cache(database_url: str) -> None:
    async with client_of(database_url, **FREE, response_cache_bytes_max=0) as client:
        me = await register_user(client, "ann")
        for _ in range(20):
            await score(client, me)
            await asyncio.sleep(0.02)
        assert await cache_hits(client) == 0


async def test_replies_changed_by_a_dead_worker_are_not_cached_until_the_next_change(
    database_url: str,
) -> None:
    desks: list[Services] = []
    create_tables(database_url)
    with TemporaryDirectory() as folder:
        own, limits = split(FREE)
        settings = dataclasses.replace(QUICK, database_url=database_url, storage_url=folder, **own)

        @asynccontextmanager
        async def recording() -> AsyncIterator[Services]:
            service_limits = limits_of(settings, {}, **limits)
            async with open_services(
                settings, opening(FakeInferenceServer()), limits=service_limits
            ) as services:
                desks.append(services)
                yield services

        async with (
            serving(create_app(settings, recording)) as address,
            httpx.AsyncClient(base_url=address, verify=NO_TLS) as client,
        ):
            me = await register_user(client, "ann")
            await wait_until_cached(client, me)
            account = desks[0].store.stream_ids.account("ann")
            desks[0].projector.versions.begin_change({USERS.schema: [account]})
            before = await cache_hits(client)
            for _ in range(5):
                await score(client, me)
            assert await cache_hits(client) == before
            await client.post("/auth/setavatar", headers=me, json={"url": "https://example.org/a.png"})
            await wait_until_cached(client, me)
