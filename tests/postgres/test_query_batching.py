"""Reads that are sent together: each gets its own rows or its own error, whoever its neighbours are."""

import asyncio
from collections.abc import AsyncIterator

import psycopg
import pytest
import pytest_asyncio
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from huajuan.postgres import query_batching
from huajuan.postgres.pool import open_pool
from huajuan.postgres.query_batching import SharedReads
from huajuan.postgres.retry import OUTAGES, through_outages

ECHO = b"SELECT %(n)s::int"
FAILS = b"SELECT 1 / %(n)s::int"
SLOW = b"SELECT %(n)s::int FROM pg_sleep(0.2)"


@pytest_asyncio.fixture
async def pool(database_url: str) -> AsyncIterator[AsyncConnectionPool]:
    async with open_pool(database_url, 4, wait_seconds_max=0.3) as pool:
        yield pool


async def test_each_gets_their_own_rows(pool: AsyncConnectionPool) -> None:
    reads = SharedReads(pool)
    found = await asyncio.gather(*(reads.run(ECHO, {"n": n}) for n in range(200)))
    assert found == [[(n,)] for n in range(200)]


async def test_many_are_sent_in_few_trips(pool: AsyncConnectionPool, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = list[int]()
    real = query_batching._answer

    async def counted(connection, batch):  # type: ignore[no-untyped-def]
        sizes.append(len(batch))
        await real(connection, batch)

    monkeypatch.setattr(query_batching, "_answer", counted)
    reads = SharedReads(pool)
    await asyncio.gather(*(reads.run(ECHO, {"n": n}) for n in range(100)))
    assert sum(sizes) == 100
    assert max(sizes) <= query_batching.BATCH_READS_MAX
    assert len(sizes) <= 10


async def test_one_that_fails_fails_alone(pool: AsyncConnectionPool) -> None:
    reads = SharedReads(pool)
    asked = [reads.run(FAILS if n % 10 == 0 else ECHO, {"n": 0 if n % 10 == 0 else n}) for n in range(50)]
    found = await asyncio.gather(*asked, return_exceptions=True)
    for n, rows in enumerate(found):
        if n % 10 == 0:
            assert isinstance(rows, psycopg.errors.DivisionByZero)
        else:
            assert rows == [(n,)]


async def test_values_that_cannot_be_sent_are_their_own_callers_error(pool: AsyncConnectionPool) -> None:
    reads = SharedReads(pool)
    asked = [reads.run(ECHO, {"n": object() if n == 3 else n}) for n in range(6)]
    found = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(found.pop(3), psycopg.ProgrammingError)
    assert found == [[(n,)] for n in (0, 1, 2, 4, 5)]


async def test_who_gives_up_takes_nobody_along(pool: AsyncConnectionPool) -> None:
    reads = SharedReads(pool)
    tasks = [asyncio.create_task(reads.run(SLOW, {"n": n})) for n in range(12)]
    await asyncio.sleep(0.05)
    for task in tasks[::2]:
        task.cancel()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert found[1::2] == [[(n,)] for n in range(1, 12, 2)]
    assert await reads.run(ECHO, {"n": 7}) == [(7,)]


async def test_a_lane_that_ends_leaves_nobody_behind(pool: AsyncConnectionPool) -> None:
    """Whoever comes just as the last connection goes back."""
    reads = SharedReads(pool)

    async def one_after_another(number: int) -> None:
        for n in range(100):
            assert await reads.run(ECHO, {"n": n}) == [(n,)]
            if number % 2:
                await asyncio.sleep(0)

    async with asyncio.timeout(30):
        await asyncio.gather(*(one_after_another(number) for number in range(5)))
    assert reads._serving == 0


async def test_an_exhausted_pool_is_told_to_all_who_wait(pool: AsyncConnectionPool) -> None:
    reads = SharedReads(pool)
    held = [await pool.getconn() for _ in range(4)]
    found = await asyncio.gather(*(reads.run(ECHO, {"n": n}) for n in range(5)), return_exceptions=True)
    assert {type(error) for error in found} == {PoolTimeout}
    for connection in held:
        await pool.putconn(connection)
    assert await reads.run(ECHO, {"n": 1}) == [(1,)]


async def test_a_cut_connection_is_an_outage_and_the_next_read_has_another(
    pool: AsyncConnectionPool, database_url: str
) -> None:
    reads = SharedReads(pool)
    tasks = [asyncio.create_task(reads.run(SLOW, {"n": n})) for n in range(6)]
    await asyncio.sleep(0.05)
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as knife:
        await knife.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(error, OUTAGES) for error in found)
    assert await through_outages(lambda: reads.run(ECHO, {"n": 1}), 5) == [(1,)]
