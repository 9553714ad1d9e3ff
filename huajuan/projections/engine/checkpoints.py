"""The checkpoint of each projection: its position in the log. The row lock decides which process folds."""

import os
import socket
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec
from psycopg import AsyncConnection, AsyncCursor

from huajuan.projections.engine.projection import Projection
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
_LAGS = f"""
SELECT c.projection, c.position, {LAG}, c.stopped_at, c.stopped_by
  FROM {CHECKPOINTS} WHERE c.projection = ANY(%(schemas)s) ORDER BY c.projection
"""


class Checkpoint(NamedTuple):
    """The position up to which a projection has folded, and where and why it is stopped."""

    schema: str
    position: int
    stopped_at: int | None
    stopped_by: str | None


class CheckpointAndHead(NamedTuple):
    """A checkpoint and the last position of the log."""

    checkpoint: Checkpoint
    head: int


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


async def read_checkpoints(connection: AsyncConnection, schemas: Sequence[str]) -> list[CheckpointAndHead]:
    """Without a lock."""
    cursor = await connection.execute(_READ, (list(schemas),), prepare=True, binary=True)
    return [CheckpointAndHead(Checkpoint(*row[:4]), row[4]) for row in await cursor.fetchall()]


async def checkpoint_lags(tables: ReadTables, projections: Iterable[Projection]) -> list[CheckpointLag]:
    return await tables.all(CheckpointLag, _LAGS, {"schemas": [p.schema for p in projections]})
