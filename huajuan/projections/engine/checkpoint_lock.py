"""The checkpoint rows: who holds one leads its projection, and moves it in the transaction that folds."""

from collections.abc import Sequence
from typing import NamedTuple

from psycopg import AsyncConnection, AsyncCursor

from huajuan.projections.engine.checkpoints import RATE_SECONDS

# The row is position, leadership and fail-over at once: who cannot lock it does not lead.
_LEAD = b"""
SELECT projection, position, stopped_at, stopped_by FROM operations.checkpoints WHERE projection = ANY(%b)
 ORDER BY projection FOR UPDATE SKIP LOCKED
"""
# The rate is an average in which what is `RATE_SECONDS` old counts for a third of what is new.
_MOVE = f"""
UPDATE operations.checkpoints
   SET rate = rate * exp(-least(greatest(extract(epoch FROM now() - moved_at)::float8, 0) / {RATE_SECONDS}, 50))
              + (%b - position) / {RATE_SECONDS}::float8,
       position = %b, moved_at = now(), leader = %b, stopped_at = NULL, stopped_by = NULL
 WHERE projection = ANY(%b)
""".encode()
_LOOK = b"""
SELECT projection, position, stopped_at, stopped_by, (SELECT coalesce(max(notification_id), 0) FROM log.huajuan_events)
  FROM operations.checkpoints WHERE projection = ANY(%b)
"""
_STOP = (
    b"UPDATE operations.checkpoints SET stopped_at = %b, stopped_by = %b, leader = %b WHERE projection = %b"
)


# The log ends before the checkpoint: it was cut. The table has folded what is no more, and only a rebuild mends it.
AHEAD_OF_LOG = "AheadOfLog"


class Checkpoint(NamedTuple):
    """How far a projection has folded, and where it is stopped."""

    schema: str
    position: int
    stopped_at: int | None
    stopped_by: str | None


class Seen(NamedTuple):
    """A checkpoint beside the log's head."""

    checkpoint: Checkpoint
    head: int


async def ask_to_lead(connection: AsyncConnection, schemas: Sequence[str]) -> AsyncCursor:
    """Its rows are the `Checkpoint`s of those that nobody else leads."""
    return await connection.execute(_LEAD, (list(schemas),), prepare=True, binary=True)


async def move(connection: AsyncConnection, schemas: Sequence[str], position: int, leader: str) -> None:
    await connection.execute(_MOVE, (position, position, leader, list(schemas)), prepare=True)


async def stop(connection: AsyncConnection, schema: str, position: int, kind: str, leader: str) -> None:
    await connection.execute(_STOP, (position, kind, leader, schema))


async def look(connection: AsyncConnection, schemas: Sequence[str]) -> list[Seen]:
    """Locks nothing."""
    cursor = await connection.execute(_LOOK, (list(schemas),), prepare=True, binary=True)
    return [Seen(Checkpoint(*row[:4]), row[4]) for row in await cursor.fetchall()]
