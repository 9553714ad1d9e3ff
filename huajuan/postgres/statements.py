"""Executes single statements: with retries, and concurrent reads batched into one round trip."""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import psycopg
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from huajuan.postgres.retry import retry_query

# The number of the pool's connections that batches may use at a time. The rest is for longer work.
LANES_MAX = 3
BATCH_READS_MAX = 32
Values = Mapping[str, Any] | Sequence[Any] | None
Rows = list[tuple[Any, ...]]


class _Read(NamedTuple):
    statement: bytes
    values: Values
    rows: asyncio.Future[Rows]


class QueryBatcher:
    """Batches reads that take a few milliseconds each. A slow one delays the others of its batch."""

    def __init__(self, pool: AsyncConnectionPool) -> None:
        self._pool = pool
        self._waiting: deque[_Read] = deque()
        self._lanes: set[asyncio.Task[None]] = set()
        self._serving = 0

    async def run(self, statement: bytes, values: Values) -> Rows:
        """The rows of a SELECT. Raises the errors of the statement and of the pool."""
        read = _Read(statement, values, asyncio.get_running_loop().create_future())
        self._waiting.append(read)
        if self._serving < LANES_MAX:
            self._serving += 1
            lane = asyncio.create_task(self._serve())
            self._lanes.add(lane)
            lane.add_done_callback(self._lanes.discard)
        return await read.rows

    async def _serve(self) -> None:
        """Executes batches while reads wait. The lane is closed before its connection returns to the pool."""
        is_open = True
        try:
            async with self._pool.connection() as connection:
                while batch := self._take_batch():
                    await _execute_batch(connection, batch)
                is_open, self._serving = False, self._serving - 1
        except Exception as error:  # noqa: BLE001  raised to the callers
            self._reject_all(error)
        finally:
            if is_open:
                self._serving -= 1

    def _take_batch(self) -> list[_Read]:
        batch: list[_Read] = []
        while self._waiting and len(batch) < BATCH_READS_MAX:
            read = self._waiting.popleft()
            if not read.rows.done():  # the caller was cancelled
                batch.append(read)
        return batch

    def _reject_all(self, error: Exception) -> None:
        while self._waiting:
            _reject(self._waiting.popleft(), error)


async def _execute_batch(connection: AsyncConnection, batch: Sequence[_Read]) -> None:
    """Where one read fails, the rest of a pipeline is not executed. Then each is executed separately."""
    if len(batch) > 1:
        with suppress(psycopg.Error):
            await _execute_pipeline(connection, batch)
    for read in batch:
        if not read.rows.done():
            await _execute_one(connection, read)


async def _execute_pipeline(connection: AsyncConnection, batch: Sequence[_Read]) -> None:
    async with connection.pipeline():
        cursors = [
            await connection.execute(read.statement, read.values, prepare=True, binary=True) for read in batch
        ]
    for read, cursor in zip(batch, cursors, strict=True):
        _resolve(read, await cursor.fetchall())


async def _execute_one(connection: AsyncConnection, read: _Read) -> None:
    try:
        cursor = await connection.execute(read.statement, read.values, prepare=True, binary=True)
        _resolve(read, await cursor.fetchall())
    except Exception as error:  # noqa: BLE001  raised to the caller
        _reject(read, error)


def _resolve(read: _Read, rows: Rows) -> None:
    if not read.rows.done():
        read.rows.set_result(rows)


def _reject(read: _Read, error: Exception) -> None:
    if not read.rows.done():
        read.rows.set_exception(error)


class Statements:
    """Executes idempotent statements. An outage of Postgres is bridged by retries for `outage_seconds_max`.

    Raises `DatabaseUnavailable` and `DatabaseBusy`.
    """

    def __init__(
        self, pool: AsyncConnectionPool, outage_seconds_max: float, reads: QueryBatcher | None = None
    ) -> None:
        self._pool = pool
        self._reads = reads or QueryBatcher(pool)
        self._outage_seconds_max = outage_seconds_max

    async def run(self, statement: str, values: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """The rows of the statement, empty if it returns none."""
        return await retry_query(lambda: self._run(statement, values), self._outage_seconds_max)

    async def read(self, statement: str, values: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """The rows of a fast SELECT, which is batched with others."""
        text = statement.encode()
        return await retry_query(lambda: self._reads.run(text, values), self._outage_seconds_max)

    async def _run(self, statement: str, values: Mapping[str, Any] | None) -> list[tuple[Any, ...]]:
        async with self._pool.connection() as connection:
            cursor = await connection.execute(statement.encode(), values, prepare=True, binary=True)
            return await cursor.fetchall() if cursor.description else []
