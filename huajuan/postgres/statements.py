"""Executes single statements: with retries, and concurrent reads batched into one round trip."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Mapping, Sequence
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

    def resolve(self, rows: Rows) -> None:
        if not self.rows.done():
            self.rows.set_result(rows)

    def reject(self, error: Exception) -> None:
        if not self.rows.done():
            self.rows.set_exception(error)


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
            while self._waiting:
                self._waiting.popleft().reject(error)
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


async def _execute_batch(connection: AsyncConnection, batch: Sequence[_Read]) -> None:
    """Where one read fails, the rest of a pipeline is not executed. Then each is executed separately."""
    if len(batch) > 1:
        with suppress(psycopg.Error):
            async with connection.pipeline():
                cursors = [await _execute(connection, read) for read in batch]
            for read, cursor in zip(batch, cursors, strict=True):
                read.resolve(await cursor.fetchall())
    for read in batch:
        if not read.rows.done():
            try:
                cursor = await _execute(connection, read)
                read.resolve(await cursor.fetchall())
            except Exception as error:  # noqa: BLE001  raised to the caller
                read.reject(error)


def _execute(connection: AsyncConnection, read: _Read) -> Awaitable[psycopg.AsyncCursor]:
    return connection.execute(read.statement, read.values, prepare=True, binary=True)


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

    async def run(self, statement: str, values: Values = None, *, prepare: bool = True) -> Rows:
        """The rows of the statement, empty if it returns none."""

        async def work() -> Rows:
            async with self._pool.connection() as connection:
                cursor = await connection.execute(statement.encode(), values, prepare=prepare, binary=True)
                return await cursor.fetchall() if cursor.description else []

        return await retry_query(work, self._outage_seconds_max)

    async def read(self, statement: str, values: Values = None) -> Rows:
        """The rows of a fast SELECT, which is batched with others."""
        text = statement.encode()
        return await retry_query(lambda: self._reads.run(text, values), self._outage_seconds_max)
