"""The swap: while the live tables stand still for a moment, the new ones take their names."""

import time
from collections.abc import Callable, Mapping, Sequence

import msgspec
import psycopg
from psycopg import sql

from huajuan.event_store.schema import EVENTS_CHANNEL
from huajuan.projections.engine.position_publisher import FOLDED_CHANNEL, words
from huajuan.projections.engine.projection import Projection
from huajuan.projections.engine.rebuild_status import SWAPPED
from huajuan.projections.rebuild.limits import RebuildLimits
from huajuan.projections.rebuild.new_tables import new_schema, old_schema
from huajuan.projections.rebuild.records import Note, end
from huajuan.response_cache.lease_for_swap import allow_tenancies, is_free

_LIVE = "SELECT projection, position, stopped_at FROM operations.checkpoints WHERE projection = ANY(%s)"
# In one order, so that two swaps of other tables never wait for each other.
_LOCK = f"{_LIVE} ORDER BY projection FOR NO KEY UPDATE"
_HOLD = f"{_LIVE} FOR KEY SHARE"
_SET = """
INSERT INTO operations.checkpoints (projection, position) VALUES (%s, %s)
ON CONFLICT (projection) DO UPDATE
   SET position = EXCLUDED.position, stopped_at = NULL, stopped_by = NULL, moved_at = now()
"""
_IS_THERE = "SELECT 1 FROM pg_namespace WHERE nspname = %s"
_TELL = "SELECT pg_notify(%s, %s)"


class Live(msgspec.Struct, frozen=True):
    """Where a live table stands, and whether it is stopped there."""

    position: int
    is_stopped: bool


class Held(Exception):
    """A live table's leader, or a server that remembers, did not let go of it in time. Nothing has changed."""


CatchUp = Callable[[Mapping[str, Live]], Mapping[str, int]]


def live_tables(
    connection: psycopg.Connection, projections: Sequence[Projection], statement: str = _LIVE
) -> dict[str, Live]:
    """By schema; none for a table that was never made."""
    schemas = [projection.schema for projection in projections]
    found = connection.execute(statement.encode(), (schemas,))
    return {schema: Live(position, stopped_at is not None) for schema, position, stopped_at in found}


def swap(
    swapping: psycopg.Connection,
    holding: psycopg.Connection,
    projections: Sequence[Projection],
    limits: RebuildLimits,
    note: Note,
    catch_up: CatchUp,
) -> float:
    """`catch_up` brings the new tables to where the live ones stand, and tells where. Returns for how many
    seconds the live tables stood still. Raises `Held`.

    A leader who took its row in the instant in which the names have changed but not every session knows of it
    would write to the old table. So the rows are held by a second session until the first has committed.
    """
    began = time.monotonic()
    with holding.transaction(), swapping.transaction():
        if not is_free(swapping):
            raise Held
        live = _lock(swapping, projections, limits.swap_wait_seconds_max)
        live_tables(holding, projections, _HOLD)
        positions = catch_up(live)
        for projection in projections:
            _rename(swapping, projection)
            _move(swapping, projection.schema, positions[projection.schema])
        # Said by the swap itself, so that it holds should the rebuild be killed before it has compared.
        end(swapping, note.id, SWAPPED)
        allow_tenancies(swapping)
        swapping.execute(_TELL, (EVENTS_CHANNEL, ""))
    return time.monotonic() - began


def _lock(
    swapping: psycopg.Connection, projections: Sequence[Projection], seconds_max: float
) -> dict[str, Live]:
    swapping.execute(f"SET LOCAL lock_timeout = {max(1, round(seconds_max * 1000))}".encode())
    try:
        return live_tables(swapping, projections, _LOCK)
    except psycopg.errors.LockNotAvailable as error:
        raise Held from error


def _rename(connection: psycopg.Connection, projection: Projection) -> None:
    """There may be no old table: it was never made, or somebody dropped it."""
    rename = sql.SQL("ALTER SCHEMA {} RENAME TO {}")
    now, new, old = map(sql.Identifier, (projection.schema, new_schema(projection), old_schema(projection)))
    if connection.execute(_IS_THERE, (projection.schema,)).fetchone():
        connection.execute(rename.format(now, old))
    connection.execute(rename.format(new, now))


def _move(connection: psycopg.Connection, schema: str, position: int) -> None:
    connection.execute(_SET, (schema, position))
    connection.execute(_TELL, (FOLDED_CHANNEL, words([(schema, position)])))
