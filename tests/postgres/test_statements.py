"""Batched reads: each gets its own rows or its own error."""

import asyncio
from collections.abc import AsyncIterator

import psycopg
import pytest
import pytest_asyncio
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from huajuan.postgres import statements
from huajuan.postgres.connect import open_pool
from huajuan.postgres.retry import OUTAGES, retry_query
from huajuan.postgres.statements import QueryBatcher

ECHO = b"SELECT %(n)s::int"
FAILS = b"SELECT 1 / %(n)s::int"
SLOW = b"SELECT %(n)s::int FROM pg_sleep(0.2)"


@pytest_asyncio.fixture
async def pool(database_url: str) -> AsyncIterator[AsyncConnectionPool]:
    async with open_pool(database_url, 4, wait_seconds_max=30) as pool:
        yield pool


async def test_each_read_gets_its_own_rows(pool: AsyncConnectionPool) -> None:
    reads = QueryBatcher(pool)
    found = await asyncio.gather(*(reads.run(ECHO, {"n": n}) for n in range(200)))
    assert found == [[(n,)] for n in range(200)]


async def test_reads_are_batched(pool: AsyncConnectionPool, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = list[int]()
    real = statements._execute_batch

    async def counted(connection, batch):  # type: ignore[no-untyped-def]
        sizes.append(len(batch))
        await real(connection, batch)

    monkeypatch.setattr(statements, "_execute_batch", counted)
    reads = QueryBatcher(pool)
    await asyncio.gather(*(reads.run(ECHO, {"n": n}) for n in range(100)))
    assert sum(sizes) == 100
    assert max(sizes) <= statements.BATCH_READS_MAX
    assert len(sizes) <= 10


async def test_a_failing_read_fails_alone(pool: AsyncConnectionPool) -> None:
    reads = QueryBatcher(pool)
    reading = [reads.run(FAILS if n % 10 == 0 else ECHO, {"n": 0 if n % 10 == 0 else n}) for n in range(50)]
    found = await asyncio.gather(*reading, return_exceptions=True)
    for n, rows in enumerate(found):
        if n % 10 == 0:
            assert isinstance(rows, psycopg.errors.DivisionByZero)
        else:
            assert rows == [(n,)]


async def test_unsendable_values_fail_their_read_alone(pool: AsyncConnectionPool) -> None:
    reads = QueryBatcher(pool)
    reading = [reads.run(ECHO, {"n": object() if n == 3 else n}) for n in range(6)]
    found = await asyncio.gather(*reading, return_exceptions=True)
    assert isinstance(found.pop(3), psycopg.ProgrammingError)
    assert found == [[(n,)] for n in (0, 1, 2, 4, 5)]


async def test_a_cancelled_read_does_not_affect_others(pool: AsyncConnectionPool) -> None:
    reads = QueryBatcher(pool)
    tasks = [asyncio.create_task(reads.run(SLOW, {"n": n})) for n in range(12)]
    await asyncio.sleep(0.05)
    for task in tasks[::2]:
        task.cancel()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert found[1::2] == [[(n,)] for n in range(1, 12, 2)]
    assert await reads.run(ECHO, {"n": 7}) == [(7,)]


async def test_a_read_at_the_end_of_a_lane_is_executed(pool: AsyncConnectionPool) -> None:
    """Reads that arrive while the last connection returns to the pool."""
    reads = QueryBatcher(pool)

    async def one_after_another(number: int) -> None:
        for n in range(100):
            assert await reads.run(ECHO, {"n": n}) == [(n,)]
            if number % 2:
                await asyncio.sleep(0)

    async with asyncio.timeout(30):
        await asyncio.gather(*(one_after_another(number) for number in range(5)))
    assert reads._serving == 0


async def test_an_exhausted_pool_fails_all_waiting_reads(pool: AsyncConnectionPool) -> None:
    pool.timeout = 0.3
    reads = QueryBatcher(pool)
    held = [await pool.getconn() for _ in range(4)]
    found = await asyncio.gather(*(reads.run(ECHO, {"n": n}) for n in range(5)), return_exceptions=True)
    assert {type(error) for error in found} == {PoolTimeout}
    for connection in held:
        await pool.putconn(connection)
    assert await reads.run(ECHO, {"n": 1}) == [(1,)]


async def test_after_a_terminated_connection_the_next_read_has_another(
    pool: AsyncConnectionPool, database_url: str
) -> None:
    reads = QueryBatcher(pool)
    tasks = [asyncio.create_task(reads.run(SLOW, {"n": n})) for n in range(6)]
    await asyncio.sleep(0.05)
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as knife:
        await knife.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(error, OUTAGES) for error in found)
    assert await retry_query(lambda: reads.run(ECHO, {"n": 1}), 5) == [(1,)]
