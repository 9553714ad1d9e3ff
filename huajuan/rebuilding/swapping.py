"""The swap: while the live tables stand still for a moment, the new ones take their names."""

import time
from collections.abc import Callable, Mapping, Sequence

import msgspec
import psycopg
from psycopg import sql

from huajuan.event_store.schema import EVENTS_CHANNEL
from huajuan.projections.projection import Projection
from huajuan.projections.runner import POSITIONS_CHANNEL
from huajuan.rebuilding.new_tables import new_schema, old_schema

_LOCK_SECONDS_MAX = 60
_LIVE = "SELECT projection, position, stopped_at FROM operations.checkpoints WHERE projection = ANY(%s)"
# In one order, so that two swaps of other tables never wait for each other.
_LOCK = f"{_LIVE} ORDER BY projection FOR UPDATE"
_SET = """
INSERT INTO operations.checkpoints (projection, position) VALUES (%s, %s)
ON CONFLICT (projection) DO UPDATE
   SET position = EXCLUDED.position, stopped_at = NULL, stopped_by = NULL, moved_at = now()
"""
_TELL = "SELECT pg_notify(%s, %s)"


class Live(msgspec.Struct, frozen=True):
    """Where a live table stands, and whether it is stopped there."""

    position: int
    is_stopped: bool


def live_tables(
    connection: psycopg.Connection, projections: Sequence[Projection], *, locked: bool = False
) -> dict[str, Live]:
    """By schema; none for a table that was never made."""
    schemas = [projection.schema for projection in projections]
    found = connection.execute((_LOCK if locked else _LIVE).encode(), (schemas,))
    return {schema: Live(position, stopped_at is not None) for schema, position, stopped_at in found}


def swap(
    connection: psycopg.Connection,
    projections: Sequence[Projection],
    catch_up: Callable[[Mapping[str, Live]], Mapping[str, int]],
) -> float:
    """`catch_up` brings the new tables to where the live ones stand, and tells where. Returns for how many
    seconds the live tables stood still."""
    with connection.transaction():
        connection.execute(f"SET LOCAL lock_timeout = '{_LOCK_SECONDS_MAX}s'".encode())
        live = live_tables(connection, projections, locked=True)
        began = time.monotonic()
        positions = catch_up(live)
        for projection in projections:
            _rename(connection, projection, is_live=projection.schema in live)
            _move(connection, projection.schema, positions[projection.schema])
        connection.execute(_TELL, (EVENTS_CHANNEL, ""))
    return time.monotonic() - began


def _rename(connection: psycopg.Connection, projection: Projection, *, is_live: bool) -> None:
    rename = sql.SQL("ALTER SCHEMA {} RENAME TO {}")
    now, new, old = map(sql.Identifier, (projection.schema, new_schema(projection), old_schema(projection)))
    if is_live:
        connection.execute(rename.format(now, old))
    connection.execute(rename.format(new, now))


def _move(connection: psycopg.Connection, schema: str, position: int) -> None:
    connection.execute(_SET, (schema, position))
    connection.execute(_TELL, (POSITIONS_CHANNEL, f"{schema} {position}"))
