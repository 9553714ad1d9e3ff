"""The notes that rebuilds keep of themselves, and the locks that say which ones are alive."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from huajuan.domain.read_table import ReadTable
from huajuan.event_store.installation import stream_ids_at_once
from huajuan.projections.engine.projection import Projection
from huajuan.projections.engine.rebuild_status import DIED
from huajuan.projections.rebuild.errors import AlreadyRebuilding, BegunBefore, NotAskedFor

# Held by the rebuild's session, so that it is free again however the rebuild ends.
_LOCK = "SELECT pg_try_advisory_lock(hashtext('huajuan rebuild ' || %s))"
_UNLOCK = "SELECT pg_advisory_unlock(hashtext('huajuan rebuild ' || %s))"
_ASKED = """
SELECT 1 FROM log.huajuan_events WHERE notification_id = %s AND topic = %s AND originator_id = ANY(%s)
"""
_BEGUN = "SELECT 1 FROM operations.rebuilds WHERE asked = %s"
_BEGIN = "INSERT INTO operations.rebuilds (projections, head, asked) VALUES (%s, %s, %s) RETURNING id"
_MOVE = """
UPDATE operations.rebuilds SET position = %s, head = %s, events_per_second = %s, moved_at = now() WHERE id = %s
"""
_END = "UPDATE operations.rebuilds SET outcome = %s, differences = %s, moved_at = now(), ended_at = now() WHERE id = %s"
# Whoever holds the lock of a table knows that no other rebuild of it is alive.
_DIED = """
UPDATE operations.rebuilds SET outcome = %s, ended_at = moved_at
 WHERE outcome IS NULL AND projections && %s::text[]
"""


@contextmanager
def alone(connection: psycopg.Connection, projections: Iterable[Projection]) -> Iterator[None]:
    """Nobody else rebuilds these tables meanwhile. Raises `AlreadyRebuilding`.

    After any error the connection is to be closed, which gives the locks back: it may be in mid-sentence.
    """
    held = list(projections)
    for projection in held:
        if not _try(connection, _LOCK, projection.schema):
            raise AlreadyRebuilding(projection.name)
    yield
    for projection in held:
        _try(connection, _UNLOCK, projection.schema)


def _try(connection: psycopg.Connection, statement: str, schema: str) -> bool:
    row = connection.execute(statement.encode(), (schema,)).fetchone()
    return bool(row and row[0])


def note_dead(connection: psycopg.Connection, projections: Iterable[Projection]) -> None:
    """Whoever holds the locks of these tables says of rebuilds that did not end that they died."""
    connection.execute(
        _DIED,
        (
            DIED,
            [projection.schema for projection in projections],
        ),
    )


def refuse_unless_asked(
    connection: psycopg.Connection, asked: int | None, projections: Iterable[Projection]
) -> None:
    """`asked` is where the request for this rebuild is on record. Raises `NotAskedFor`, `BegunBefore`."""
    if asked is None:
        return
    ids = stream_ids_at_once(connection)
    streams = [ids.read_table(projection.schema) for projection in projections]
    if not connection.execute(_ASKED, (asked, ReadTable.RebuildAsked.TOPIC, streams)).fetchone():
        raise NotAskedFor(asked)
    if connection.execute(_BEGUN, (asked,)).fetchone():
        raise BegunBefore(asked)


class Note:
    """One rebuild's row. `asked` is where the request for it is on record, if that is known."""

    def __init__(
        self,
        connection: psycopg.Connection,
        projections: Sequence[Projection],
        head: int,
        asked: int | None = None,
    ) -> None:
        self._connection = connection
        schemas = [projection.schema for projection in projections]
        note_dead(connection, projections)
        row = connection.execute(_BEGIN, (schemas, head, asked)).fetchone()
        self.id: int = row[0] if row else 0

    def move(self, position: int, head: int, events_per_second: float) -> None:
        self._connection.execute(_MOVE, (position, head, events_per_second, self.id))


def end(connection: psycopg.Connection, note_id: int, outcome: str, differences: Any = None) -> None:
    """How a rebuild ended: `done`, `cancelled` or `failed: …`."""
    connection.execute(_END, (outcome, None if differences is None else Jsonb(differences), note_id))
