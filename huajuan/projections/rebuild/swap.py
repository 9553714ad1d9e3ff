"""The swap: new tables take the names of the live ones, while the checkpoints of these are locked briefly.

Then old and new tables are compared row by row, at the same position of the log.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import psycopg
from psycopg import sql

from huajuan.event_store.schema import EVENTS_CHANNEL
from huajuan.projections.engine.checkpoints import Checkpoint
from huajuan.projections.engine.notifications import FOLDED_CHANNEL, format_positions
from huajuan.projections.engine.projection import Projection
from huajuan.projections.engine.status import SWAPPED
from huajuan.projections.rebuild.new_tables import new_schema, old_schema
from huajuan.projections.rebuild.session import RebuildLimits, RebuildRecord
from huajuan.response_cache.lease import LeaseHeld, without_lease

_LIVE = """
SELECT projection, position, stopped_at, stopped_by FROM operations.checkpoints WHERE projection = ANY(%s)
"""
# Ordered, so that swaps of overlapping tables cannot deadlock.
_LOCK = f"{_LIVE} ORDER BY projection FOR NO KEY UPDATE"
_SHARE = f"{_LIVE} FOR KEY SHARE"
_SET_CHECKPOINT = """
INSERT INTO operations.checkpoints (projection, position) VALUES (%s, %s)
ON CONFLICT (projection) DO UPDATE
   SET position = EXCLUDED.position, stopped_at = NULL, stopped_by = NULL, moved_at = now()
"""
_EXISTS = "SELECT 1 FROM pg_namespace WHERE nspname = %s"
_NOTIFY = "SELECT pg_notify(%s, %s)"
# `*<>` compares the binary images of two rows.
_COMPARE = """
SELECT count(*) OVER (), coalesce(o.{key}, n.{key})::text,
       CASE WHEN n.{key} IS NULL THEN 'only in the old table'
            WHEN o.{key} IS NULL THEN 'only in the new table' ELSE 'changed' END
  FROM {old} o FULL JOIN {new} n ON o.{key} = n.{key}
 WHERE o.{key} IS NULL OR n.{key} IS NULL OR o *<> n
 ORDER BY 2 LIMIT %s
"""
# The columns of a table, or NULL if there is no table.
_SHAPE = """
SELECT array_agg(attname::text || ' ' || format_type(atttypid, atttypmod) || ' ' || attnotnull
                 ORDER BY attnum)
  FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped
"""


class LockTimeout(Exception):
    """A checkpoint, or the cache lease, was not released in time. Nothing has changed."""


CatchUp = Callable[[Mapping[str, Checkpoint]], Mapping[str, int]]


def live_tables(
    connection: psycopg.Connection, projections: Sequence[Projection], statement: str = _LIVE
) -> dict[str, Checkpoint]:
    """By schema; a table that does not exist is missing."""
    schemas = [projection.schema for projection in projections]
    found = connection.execute(statement.encode(), (schemas,))
    return {row[0]: Checkpoint(*row) for row in found}


def swap_tables(
    swapping: psycopg.Connection,
    holding: psycopg.Connection,
    projections: Sequence[Projection],
    limits: RebuildLimits,
    record: RebuildRecord,
    catch_up: CatchUp,
) -> float:
    """Returns for how many seconds the live tables were locked. Raises `LockTimeout`.

    `catch_up` folds the new tables up to the positions of the live ones, and returns the new positions.

    A second session, `holding`, shares the row locks until the first has committed: just after the commit, a
    runner that locks a checkpoint could still find the old table under its name.
    """
    began = time.monotonic()
    try:
        with holding.transaction(), swapping.transaction(), without_lease(swapping):
            live = _lock(swapping, projections, limits.swap_wait_seconds_max)
            live_tables(holding, projections, _SHARE)
            positions = catch_up(live)
            for projection in projections:
                _rename(swapping, projection)
                _set_checkpoint(swapping, projection.schema, positions[projection.schema])
            # In the same transaction: it stays true if the process dies before the comparison.
            record.end(swapping, SWAPPED)
            swapping.execute(_NOTIFY, (EVENTS_CHANNEL, ""))
    except LeaseHeld as error:
        raise LockTimeout from error
    return time.monotonic() - began


def _lock(
    swapping: psycopg.Connection, projections: Sequence[Projection], seconds_max: float
) -> dict[str, Checkpoint]:
    swapping.execute(f"SET LOCAL lock_timeout = {max(1, round(seconds_max * 1000))}".encode())
    try:
        return live_tables(swapping, projections, _LOCK)
    except psycopg.errors.LockNotAvailable as error:
        raise LockTimeout from error


def _rename(connection: psycopg.Connection, projection: Projection) -> None:
    """The old table may be missing."""
    rename = sql.SQL("ALTER SCHEMA {} RENAME TO {}")
    live, new, old = map(sql.Identifier, (projection.schema, new_schema(projection), old_schema(projection)))
    if connection.execute(_EXISTS, (projection.schema,)).fetchone():
        connection.execute(rename.format(live, old))
    connection.execute(rename.format(new, live))


def _set_checkpoint(connection: psycopg.Connection, schema: str, position: int) -> None:
    connection.execute(_SET_CHECKPOINT, (schema, position))
    connection.execute(_NOTIFY, (FOLDED_CHANNEL, format_positions([(schema, position)])))


class Differences(msgspec.Struct, frozen=True):
    """The number of rows that differ, and the first of them by key, with the kind of difference.

    `misshapen` is true if the old table was missing or had other columns, so that no rows were compared.
    """

    table: str
    rows: int
    first: dict[str, str]
    misshapen: bool = False

    def __bool__(self) -> bool:
        return bool(self.rows or self.misshapen)


def compare_tables(
    connection: psycopg.Connection, projection: Projection, old: str, new: str, shown_max: int
) -> Differences:
    """Compares the table in the schemas `old` and `new` in the snapshot of the connection's transaction."""
    table = projection.table
    if _shape(connection, old, table.name) != _shape(connection, new, table.name):
        return Differences(projection.name, 0, {}, misshapen=True)
    query = sql.SQL(_COMPARE).format(
        key=sql.Identifier(table.key),
        old=sql.Identifier(old, table.name),
        new=sql.Identifier(new, table.name),
    )
    found: list[Any] = connection.execute(query, (shown_max,)).fetchall()
    return Differences(projection.name, found[0][0] if found else 0, {row[1]: row[2] for row in found})


def _shape(connection: psycopg.Connection, schema: str, table: str) -> Any:
    return connection.execute(_SHAPE, (f"{schema}.{table}",)).fetchone()
