"""Several processes on one log: no gaps, no negative balance, no lost acknowledged event."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import psycopg

from huajuan.domain.account import Account
from huajuan.event_store.schema import create_schema
from tests.database import Databases
from tests.event_store.helpers import check_in, is_whole, log_rows, opened, register
from tests.event_store.process import TASKS, start

WRITERS = 8
SAVES = 20_000
DAYS = 30
SAVES_OF_A_TASK = -(-SAVES // WRITERS // TASKS)
EVENTS = WRITERS * TASKS * sum(1 + n % 3 for n in range(SAVES_OF_A_TASK))


async def tail(dsn: str, until: asyncio.Event) -> AsyncIterator[list[int]]:
    """Pages of positions as a reader sees them, up to the end of the log once `until` is set."""
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        last = 0
        while True:
            ended = until.is_set()
            cursor = await connection.execute(
                "SELECT notification_id FROM log.huajuan_events "
                "WHERE notification_id > %s ORDER BY 1 LIMIT 500",
                (last,),
            )
            page = [row[0] for row in await cursor.fetchall()]
            if page:
                last = page[-1]
                yield page
            elif ended:
                return


async def test_a_reader_behind_8_writers_sees_every_position_once_and_in_order(database_url: str) -> None:
    ended = asyncio.Event()
    writers = [await start("append", database_url, SAVES_OF_A_TASK) for _ in range(WRITERS)]

    async def read() -> int:
        expected = 1
        async for page in tail(database_url, ended):
            assert page == list(range(expected, expected + len(page)))
            expected += len(page)
        return expected - 1

    reading = asyncio.create_task(read())
    assert [await writer.wait() for writer in writers] == [0] * WRITERS
    ended.set()
    seen = await reading
    assert seen == len(log_rows(database_url)) == EVENTS
    assert is_whole(database_url)


async def test_two_racing_processes_do_not_overdraw(database_url: str) -> None:
    names = ["ann", "ben", "cid", "dan", "eve"]
    async with opened(database_url) as store:
        ids = [await register(store, name) for name in names]
        for account_id in ids:
            for day in range(DAYS):
                await check_in(store, account_id, day)
    racers = [await start("hold", database_url, *names) for _ in range(2)]
    for racer in racers:
        assert racer.stdout
        assert await racer.stdout.readline() == b"ready\n"
    taken = [int(out) for out, _ in await asyncio.gather(*(racer.communicate(b"go\n") for racer in racers))]
    points = 100 * DAYS
    assert sum(taken) == 5 * (points // 7)
    assert min(taken) > 0, "one process did all the work: nothing was raced"
    async with opened(database_url) as store:
        for account_id in ids:
            account = await store.find(Account, account_id)
            assert account
            assert account.balance == points % 7
            assert account.version == 1 + DAYS + points // 7


async def test_a_killed_writer_loses_no_acknowledged_event(database_url: str) -> None:
    writer = await start("acknowledge", database_url)
    assert writer.stdout
    acknowledged = [UUID((await writer.stdout.readline()).decode().strip()) for _ in range(300)]
    writer.kill()
    rest, _ = await writer.communicate()
    acknowledged += [UUID(line) for line in rest.decode().split("\n")[:-1]]
    streams = [row[1] for row in log_rows(database_url)]
    assert len(acknowledged) >= 300
    assert all(streams.count(stream) == 3 for stream in acknowledged[-300:])
    assert set(acknowledged) <= set(streams)
    assert {streams.count(stream) for stream in set(streams)} == {3}, "a save was stored in part"


async def test_several_processes_create_the_schema_at_once(databases: Databases) -> None:
    name = databases.create()
    dsn = databases.dsn(name)
    await asyncio.gather(*(asyncio.to_thread(create_schema, dsn) for _ in range(8)))
    async with opened(dsn) as store:
        await register(store, "ann")
    databases.retire(name)
