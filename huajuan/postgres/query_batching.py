"""Reads that wait at the same time are sent together: one connection, one round trip."""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import psycopg
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

# As many connections of the pool carry shared reads at a time; the others are left to whatever holds one for longer.
LANES_MAX = 3
BATCH_READS_MAX = 32
Values = Mapping[str, Any] | Sequence[Any] | None
Rows = list[tuple[Any, ...]]


class _Read(NamedTuple):
    statement: bytes
    values: Values
    rows: asyncio.Future[Rows]


class SharedReads:
    """For statements that only read, each within a few milliseconds: a slow one keeps its neighbours waiting."""

    def __init__(self, pool: AsyncConnectionPool) -> None:
        self._pool = pool
        self._waiting: deque[_Read] = deque()
        self._lanes: set[asyncio.Task[None]] = set()
        self._serving = 0

    async def run(self, statement: bytes, values: Values) -> Rows:
        """Raises what the statement, or the pool, raises."""
        read = _Read(statement, values, asyncio.get_running_loop().create_future())
        self._waiting.append(read)
        if self._serving < LANES_MAX:
            self._serving += 1
            lane = asyncio.create_task(self._serve())
            self._lanes.add(lane)
            lane.add_done_callback(self._lanes.discard)
        return await read.rows

    async def _serve(self) -> None:
        """Until nobody waits. Whoever comes while the connection goes back must find this lane closed."""
        is_open = True
        try:
            async with self._pool.connection() as connection:
                while batch := self._take_batch():
                    await _answer(connection, batch)
                is_open, self._serving = False, self._serving - 1
        except Exception as error:  # noqa: BLE001  told to those who wait
            self._refuse_all(error)
        finally:
            if is_open:
                self._serving -= 1

    def _take_batch(self) -> list[_Read]:
        batch: list[_Read] = []
        while self._waiting and len(batch) < BATCH_READS_MAX:
            read = self._waiting.popleft()
            if not read.rows.done():  # else its caller went away
                batch.append(read)
        return batch

    def _refuse_all(self, error: Exception) -> None:
        while self._waiting:
            _refuse(self._waiting.popleft(), error)


async def _answer(connection: AsyncConnection, batch: Sequence[_Read]) -> None:
    """Where one fails, the rest of a pipeline is not executed, so each is then asked alone."""
    if len(batch) > 1:
        with suppress(psycopg.Error):
            await _answer_together(connection, batch)
    for read in batch:
        if not read.rows.done():
            await _answer_alone(connection, read)


async def _answer_together(connection: AsyncConnection, batch: Sequence[_Read]) -> None:
    async with connection.pipeline():
        asked = [
            await connection.execute(read.statement, read.values, prepare=True, binary=True) for read in batch
        ]
    for read, cursor in zip(batch, asked, strict=True):
        _tell(read, await cursor.fetchall())


async def _answer_alone(connection: AsyncConnection, read: _Read) -> None:
    try:
        cursor = await connection.execute(read.statement, read.values, prepare=True, binary=True)
        _tell(read, await cursor.fetchall())
    except Exception as error:  # noqa: BLE001  it is the caller's
        _refuse(read, error)


def _tell(read: _Read, rows: Rows) -> None:
    if not read.rows.done():
        read.rows.set_result(rows)


def _refuse(read: _Read, error: Exception) -> None:
    if not read.rows.done():
        read.rows.set_exception(error)
