"""Hot reads from memory are exact: never behind one's own write, never backwards, whoever folds, in whichever server."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import msgspec
import psycopg
import pytest

from huajuan.bootstrap import open_desk
from huajuan.http.app import create_app
from huajuan.http.services import Desk
from huajuan.projections.registry import SCHEMAS
from huajuan.projections.users import USERS
from huajuan.response_cache.versions import make_changes_file, shared_changes
from huajuan.server.database import create_tables
from tests.http.conftest import ORDER, body
from tests.http.test_metrics import scrape
from tests.jobs.fake_host import FakeHost, opening
from tests.loopback import NO_TLS
from tests.projections.rebuild.test_rebuild import rebuilt
from tests.services import QUICK, client_of, serving, until

INFO, IMAGES, FAVORITES = "/auth/user/info", "/auth/user/images", "/auth/user/favoritedimages"
FREE: dict[str, Any] = {"check_in_limit": "none", "tenancy_seconds": 0.6}
ROUNDS = 25


@asynccontextmanager
async def server(dsn: str, workers: int) -> AsyncIterator[list[httpx.AsyncClient]]:
    """A client a worker; the workers share their changes."""
    create_tables(dsn)
    with TemporaryDirectory() as folder:
        settings = msgspec.structs.replace(QUICK, database_url=dsn, storage_url=folder, **FREE)
        file = make_changes_file(Path(folder), SCHEMAS)
        async with AsyncExitStack() as stack:

            async def worker() -> httpx.AsyncClient:
                changes = shared_changes(file, SCHEMAS)
                app = create_app(settings, lambda: open_desk(settings, opening(FakeHost()), changes))
                address = await stack.enter_async_context(serving(app))
                return await stack.enter_async_context(
                    httpx.AsyncClient(base_url=address, timeout=30, verify=NO_TLS)
                )

            yield [await worker() for _ in range(workers)]


async def person(client: httpx.AsyncClient, name: str) -> dict[str, str]:
    form = {"username": name, "email": f"{name}@example.org", "password": "secret"}
    assert (await client.post("/register", json=form)).status_code == 200
    return {"Authorization": (await client.post("/login", json=form)).json()["token"]}


async def told_from_memory(client: httpx.AsyncClient) -> float:
    return (await scrape(client)).of("huajuan_replies_remembered_total")


async def remembers(client: httpx.AsyncClient, me: dict[str, str], path: str = INFO) -> None:
    """Until a reply comes from memory."""

    async def does() -> bool:
        before = await told_from_memory(client)
        assert (await client.get(path, headers=me)).status_code == 200
        return await told_from_memory(client) > before

    await until(does)


async def score(client: httpx.AsyncClient, me: dict[str, str]) -> int:
    found: int = (await client.get(INFO, headers=me)).json()["user"]["score"]
    return found


async def check_in(client: httpx.AsyncClient, me: dict[str, str]) -> int:
    balance: int = (await client.get("/auth/score", headers=me)).json()["score"]
    return balance


async def test_a_remembered_reply_is_the_same_with_an_id_of_its_own(database_url: str) -> None:
    async with client_of(database_url, **FREE) as client:
        me = await person(client, "ann")
        for path in (INFO, IMAGES, FAVORITES, f"{IMAGES}?limit=1"):
            first = await client.get(path, headers=me)
            await remembers(client, me, path)
            again = await client.get(path, headers={**me, "Origin": "http://localhost:8081"})
            assert (again.status_code, again.content) == (200, first.content)
            assert again.headers["content-type"] == first.headers["content-type"]
            assert again.headers["x-request-id"] != first.headers["x-request-id"]
            assert again.headers.get_list("access-control-allow-origin") == ["http://localhost:8081"]
            assert "access-control-allow-origin" not in (await client.get(path, headers=me)).headers


async def test_each_sees_their_own(database_url: str) -> None:
    async with client_of(database_url, **FREE) as client:
        ann, ben = await person(client, "ann"), await person(client, "ben")
        for me, name in ((ann, "ann"), (ben, "ben")):
            await remembers(client, me)
            assert (await client.get(INFO, headers=me)).json()["user"]["username"] == name


async def test_what_others_do_with_a_picture_is_seen_at_once(database_url: str) -> None:
    async with client_of(database_url, **FREE) as client:
        ann, ben = await person(client, "ann"), await person(client, "ben")
        await check_in(client, ann)
        drawn = (await client.post("/auth/generate", headers=ann, json=ORDER)).json()
        await client.post("/auth/addFavoritedImage", headers=ben, json={"url": drawn["image_url"]})
        for me, path in ((ann, IMAGES), (ben, FAVORITES)):
            await remembers(client, me, path)
        assert (await client.post("/auth/like", headers=ben, json={"url": drawn["image_url"]})).is_success
        for me, path in ((ann, IMAGES), (ben, FAVORITES)):
            assert (await client.get(path, headers=me)).json()["images"][0]["likecount"] == 1


async def test_a_dead_token_recalls_nothing(database_url: str) -> None:
    async with client_of(database_url, **FREE) as client:
        me = await person(client, "ann")
        await remembers(client, me)
        assert (await client.post("/auth/logout", headers=me)).is_success
        assert (await client.get(INFO, headers=me)).status_code == 401
        for headers in ({}, {"Authorization": "Bearer none"}):
            assert (await client.get(INFO, headers=headers)).status_code == 401


async def read_on(me: dict[str, str], clients: list[httpx.AsyncClient], ended: asyncio.Event) -> None:
    """Over connections of one's own: a client's waiting list is not fair to those who wait for one."""
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
async def test_nobody_reads_behind_their_own_write_or_backwards(
    database_url: str, servers: int, workers: int
) -> None:
    async with AsyncExitStack() as stack:
        groups = [await stack.enter_async_context(server(database_url, workers)) for _ in range(servers)]
        clients = list(itertools.chain(*groups))
        people = [await person(clients[0], f"person{n}") for n in range(4)]
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
            await asyncio.sleep(FREE["tenancy_seconds"] * 2)
            ended.set()
        told = [await told_from_memory(client) for client in clients]
        assert all(told) if servers == 1 else not any(told)


async def test_a_server_remembers_again_once_it_is_alone(database_url: str) -> None:
    async with server(database_url, 1) as (here,):
        me = await person(here, "ann")
        async with server(database_url, 1) as (elsewhere,):
            before = await told_from_memory(here)
            balance = await check_in(elsewhere, me)
            for _ in range(20):
                assert await score(here, me) == balance
            assert await told_from_memory(here) == before
        await remembers(here, me)


async def test_a_table_that_was_rebuilt_is_read_anew(database_url: str) -> None:
    async with client_of(database_url, **FREE) as client:
        me = await person(client, "ann")
        await asyncio.to_thread(_tell_lies, database_url)
        await remembers(client, me)
        assert (await client.get(INFO, headers=me)).json()["user"]["avatar_url"] == "nobody said so"
        report = await rebuilt(database_url, (USERS,))
        assert [difference.table for difference in report.differences] == ["users"]
        assert (await client.get(INFO, headers=me)).json()["user"]["avatar_url"] == ""
        await remembers(client, me)
        assert body(await client.get(INFO, headers=me))["user"]["avatar_url"] == ""


def _tell_lies(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("UPDATE users_v1.users SET avatar_url = 'nobody said so'")


async def test_questions_count_for_the_memory_they_take(database_url: str) -> None:
    async with client_of(database_url, **FREE, replies_kept_bytes_max=20_000) as client:
        me = await person(client, "ann")
        await remembers(client, me)
        for n in range(8):
            assert (await client.get(f"{INFO}?{n}{'a' * 6_000}", headers=me)).is_success
        before = await told_from_memory(client)
        await client.get(f"{INFO}?0{'a' * 6_000}", headers=me)
        assert await told_from_memory(client) == before, "the oldest is forgotten"
        await client.get(f"{INFO}?7{'a' * 6_000}", headers=me)
        assert await told_from_memory(client) == before + 1


async def test_nothing_is_remembered_where_no_bytes_are_given_for_it(database_url: str) -> None:
    async with client_of(database_url, **FREE, replies_kept_bytes_max=0) as client:
        me = await person(client, "ann")
        for _ in range(20):
            await score(client, me)
            await asyncio.sleep(0.02)
        assert await told_from_memory(client) == 0


async def test_what_a_dead_worker_was_changing_is_not_remembered_until_it_is_changed_again(
    database_url: str,
) -> None:
    desks: list[Desk] = []
    create_tables(database_url)
    with TemporaryDirectory() as folder:
        settings = msgspec.structs.replace(QUICK, database_url=database_url, storage_url=folder, **FREE)

        @asynccontextmanager
        async def noted() -> AsyncIterator[Desk]:
            async with open_desk(settings, opening(FakeHost())) as desk:
                desks.append(desk)
                yield desk

        async with (
            serving(create_app(settings, noted)) as address,
            httpx.AsyncClient(base_url=address, verify=NO_TLS) as client,
        ):
            me = await person(client, "ann")
            await remembers(client, me)
            account = desks[0].store.stream_ids.account("ann")
            desks[0].projector.changes.begin({USERS.schema: [account]})
            before = await told_from_memory(client)
            for _ in range(5):
                await score(client, me)
            assert await told_from_memory(client) == before
            await client.post("/auth/setavatar", headers=me, json={"url": "https://example.org/a.png"})
            await remembers(client, me)
