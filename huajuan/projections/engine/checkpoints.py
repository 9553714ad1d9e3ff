"""The checkpoint of each projection: its position in the log, where it is stopped, and what it skips.

The row lock decides which process folds. Skips are events that a read table leaves out by decision of an
admin; they are events of the log as well.
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
import structlog
from psycopg import AsyncConnection, AsyncCursor, Connection

from huajuan.domain.read_table import ReadTable
from huajuan.event_store.errors import DatabaseUnavailable
from huajuan.event_store.stream_ids import StreamIds, load_stream_ids, load_stream_ids_blocking
from huajuan.postgres.connect import connect
from huajuan.postgres.retry import OUTAGES
from huajuan.projections.engine.projection import Projection, Skips
from huajuan.projections.engine.table import ReadTables

# The time over which the rate of folding is averaged.
RATE_SECONDS = 10
# In `stopped_by`: the log ends before the checkpoint, so it was cut. The table shows events that are no
# longer in the log; only a rebuild repairs it.
AHEAD_OF_LOG = "AheadOfLog"
# A process that cannot lock the row skips it. The lock ends with the process: another one then takes over.
_LOCK = b"""
SELECT projection, position, stopped_at, stopped_by FROM operations.checkpoints WHERE projection = ANY(%b)
 ORDER BY projection FOR UPDATE SKIP LOCKED
"""
# The rate is an exponential moving average: events that are `RATE_SECONDS` old count for about a third.
_MOVE = f"""
UPDATE operations.checkpoints
   SET rate = rate
              * exp(-least(greatest(extract(epoch FROM now() - moved_at)::float8, 0) / {RATE_SECONDS}, 50))
              + (%b - position) / {RATE_SECONDS}::float8,
       position = %b, moved_at = now(), leader = %b, stopped_at = NULL, stopped_by = NULL
 WHERE projection = ANY(%b)
""".encode()
_READ = b"""
SELECT projection, position, stopped_at, stopped_by,
       (SELECT coalesce(max(notification_id), 0) FROM log.huajuan_events)
  FROM operations.checkpoints WHERE projection = ANY(%b)
"""
_STOP = (
    b"UPDATE operations.checkpoints SET stopped_at = %b, stopped_by = %b, leader = %b WHERE projection = %b"
)
# The time of the first event that waits is read without decoding it: the event may be undecodable.
CHECKPOINTS = """
operations.checkpoints c
 CROSS JOIN (SELECT coalesce(max(notification_id), 0) AS position FROM log.huajuan_events) head
  LEFT JOIN LATERAL (
       SELECT substring(encode(e.state, 'escape') FROM '"timestamp":"([^"]+)"')::timestamptz AS at
         FROM log.huajuan_events e WHERE e.notification_id = c.position + 1) waiting ON true
"""
# An idle projection has not moved for long although no event waited, so the later of the two times counts.
LAG = """
head.position - c.position,
       CASE WHEN head.position > c.position
            THEN greatest(extract(epoch FROM now() - greatest(c.moved_at, waiting.at))::float8, 0)
            ELSE 0 END"""
_SKIPS = """
SELECT s.event->>'projection', (s.event->>'position')::int8, s.event->>'topic', s.event->>'reason',
       (s.event->>'timestamp')::timestamptz, skipped.originator_id
  FROM (SELECT originator_id, originator_version, convert_from(state, 'UTF8')::json AS event
          FROM log.huajuan_events WHERE originator_id = ANY(%(streams)s::uuid[]) AND topic = %(topic)s) s
  LEFT JOIN log.huajuan_events skipped ON skipped.notification_id = (s.event->>'position')::int8
 ORDER BY s.originator_id, s.originator_version
"""
_STOPPED_AT = """
SELECT c.stopped_at, e.topic FROM operations.checkpoints c
  LEFT JOIN log.huajuan_events e ON e.notification_id = c.stopped_at
 WHERE c.projection = %b FOR UPDATE OF c
"""
_LAGS = f"""
SELECT c.projection, c.position, {LAG}, c.stopped_at, c.stopped_by
  FROM {CHECKPOINTS} WHERE c.projection = ANY(%(schemas)s) ORDER BY c.projection
"""
_logger = structlog.get_logger(__name__)


class Checkpoint(NamedTuple):
    """The position up to which a projection has folded, and where and why it is stopped.

    `head` is the last position of the log, where the checkpoint was read without a lock.
    """

    schema: str
    position: int
    stopped_at: int | None
    stopped_by: str | None
    head: int = 0


class CheckpointLag(msgspec.Struct, frozen=True):
    """`lag_seconds` is the time since the projection last moved, while events have been waiting."""

    projection: str
    position: int
    lag_events: int
    lag_seconds: float
    stopped_at: int | None
    stopped_by: str | None


def process_name() -> str:
    """Host name and process id, such as `gpu-1:4711`: the leader of a projection, as the status shows it."""
    return f"{socket.gethostname()}:{os.getpid()}"


async def lock_checkpoints(connection: AsyncConnection, schemas: Sequence[str]) -> AsyncCursor:
    """Its rows are the `Checkpoint`s that no other process has locked."""
    return await connection.execute(_LOCK, (list(schemas),), prepare=True, binary=True)


async def move_checkpoints(
    connection: AsyncConnection, schemas: Sequence[str], position: int, leader: str
) -> None:
    await connection.execute(_MOVE, (position, position, leader, list(schemas)), prepare=True)


async def stop_projection(
    connection: AsyncConnection, schema: str, position: int, kind: str, leader: str
) -> None:
    await connection.execute(_STOP, (position, kind, leader, schema))


async def read_checkpoints(connection: AsyncConnection, schemas: Sequence[str]) -> list[Checkpoint]:
    """Without a lock."""
    cursor = await connection.execute(_READ, (list(schemas),), prepare=True, binary=True)
    return [Checkpoint(*row) for row in await cursor.fetchall()]


async def checkpoint_lags(tables: ReadTables, projections: Iterable[Projection]) -> list[CheckpointLag]:
    return await tables.all(CheckpointLag, _LAGS, {"schemas": [p.schema for p in projections]})


class SkippedEvent(msgspec.Struct, frozen=True):
    """An event that the table in this schema leaves out; `stream` is `None` if there is no such event."""

    schema: str
    position: int
    event: str
    reason: str
    skipped_at: datetime
    stream: UUID | None


async def list_skips(tables: ReadTables, ids: StreamIds, schemas: Iterable[str]) -> list[SkippedEvent]:
    """Those of each schema in the order in which they were recorded."""
    return await tables.all(SkippedEvent, _SKIPS, _skip_values(ids, schemas))


async def load_skips(connection: AsyncConnection, schemas: Sequence[str]) -> dict[str, Skips]:
    """By schema, thus by version: the fold of a newer version may be corrected."""
    values = _skip_values(await load_stream_ids(connection), schemas)
    cursor = await connection.execute(_SKIPS.encode(), values, binary=True)
    return _by_schema(schemas, await cursor.fetchall())


def load_skips_blocking(connection: Connection, schemas: Sequence[str]) -> dict[str, Skips]:
    values = _skip_values(load_stream_ids_blocking(connection), schemas)
    return _by_schema(schemas, connection.execute(_SKIPS.encode(), values, binary=True).fetchall())


def _skip_values(ids: StreamIds, schemas: Iterable[str]) -> dict[str, Any]:
    return {
        "streams": [ids.read_table(schema) for schema in schemas],
        "topic": ReadTable.EventSkipped.TOPIC,
    }


def _by_schema(schemas: Iterable[str], rows: Iterable[tuple[Any, ...]]) -> dict[str, Skips]:
    skips = [SkippedEvent(*row) for row in rows]
    return {
        schema: Skips(
            frozenset(skip.position for skip in skips if skip.schema == schema),
            frozenset(skip.stream for skip in skips if skip.schema == schema and skip.stream),
        )
        for schema in schemas
    }


class NotStoppedAtPosition(Exception):
    """The projection is not stopped, or is stopped at another position."""


@asynccontextmanager
async def held_at_stop(
    dsn: str, projection: Projection, position: int, seconds_max: float
) -> AsyncIterator[str]:
    """Locks the checkpoint of a projection that is stopped at `position`; yields the topic of the event
    there.

    Raises `NotStoppedAtPosition`, and `DatabaseUnavailable` if the lock cannot be acquired within
    `seconds_max`.
    """
    timeout = f"SET statement_timeout = {round(seconds_max * 1000)}"
    is_done = False
    try:
        async with await connect(dsn, seconds_max, timeout) as connection, connection.transaction():
            cursor = await connection.execute(_STOPPED_AT, (projection.schema,))
            stopped_at, topic = await cursor.fetchone() or (None, None)
            if stopped_at != position:
                raise NotStoppedAtPosition
            yield topic or ""
            is_done = True
    except OUTAGES as error:
        if not is_done:
            raise DatabaseUnavailable from error
        _logger.warning("connection lost after a skip", error=type(error).__name__)


class Positions:
    """Names are schemas of projections. Reading one's own writes waits here, without polling."""

    def __init__(self) -> None:
        self._positions: dict[str, int] = {}
        self._stopped: set[str] = set()
        self._waiting: dict[asyncio.Future[None], Callable[[], bool]] = {}

    def __getitem__(self, name: str) -> int:
        return self._positions.get(name, 0)

    def advance(self, positions: Mapping[str, int]) -> None:
        """Positions that were folded here or in another process; a smaller one is ignored."""
        for name, position in positions.items():
            self._positions[name] = max(position, self[name])
        self._stopped.difference_update(positions)
        self._wake()

    def reset(self, positions: Mapping[str, int]) -> None:
        """The positions in the database, also smaller ones: a crash of Postgres may lose published ones."""
        self._positions |= positions
        self._wake()

    def mark_stopped(self, name: str) -> None:
        """The projection folds no more for now, so that nobody waits for it."""
        self._stopped.add(name)
        self._wake()

    def is_stopped(self, name: str) -> bool:
        return name in self._stopped

    async def wait_for_position(self, names: Iterable[str], position: int, seconds_max: float) -> bool:
        """Wait until each of these has folded `position`. False after `seconds_max`, or if one is stopped."""
        names = tuple(names)

        def is_settled() -> bool:
            return all(self[name] >= position or name in self._stopped for name in names)

        if not is_settled() and not await self._wait(is_settled, seconds_max):
            return False
        return self._stopped.isdisjoint(names)

    async def _wait(self, is_settled: Callable[[], bool], seconds_max: float) -> bool:
        wakeup = asyncio.get_running_loop().create_future()
        self._waiting[wakeup] = is_settled
        try:
            async with asyncio.timeout(seconds_max):
                await wakeup
        except TimeoutError:
            return False
        finally:
            self._waiting.pop(wakeup, None)
        return True

    def _wake(self) -> None:
        """Wakes only the waiting tasks whose condition is met."""
        for wakeup in [wakeup for wakeup, is_settled in self._waiting.items() if is_settled()]:
            del self._waiting[wakeup]
            if not wakeup.done():
                wakeup.set_result(None)
