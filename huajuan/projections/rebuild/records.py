"""The record of each rebuild in `operations.rebuilds`, its progress, and the locks of running rebuilds."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
import psycopg
from psycopg.types.json import Jsonb

from huajuan.domain.read_table import ReadTable
from huajuan.event_store.stream_ids import load_stream_ids_blocking
from huajuan.projections.engine.projection import Projection
from huajuan.projections.engine.status import DIED
from huajuan.projections.rebuild.errors import AlreadyRebuilding, RebuildFailed

# The session of the rebuild holds the lock, so it is released whatever ends the rebuild.
_LOCK = "SELECT pg_try_advisory_lock(hashtext('huajuan rebuild ' || %s))"
_UNLOCK = "SELECT pg_advisory_unlock(hashtext('huajuan rebuild ' || %s))"
_IS_REQUESTED = """
SELECT 1 FROM log.huajuan_events WHERE notification_id = %s AND topic = %s AND originator_id = ANY(%s)
"""
_IS_STARTED = "SELECT 1 FROM operations.rebuilds WHERE requested_at_position = %s"
_INSERT = """
INSERT INTO operations.rebuilds (projections, head, requested_at_position) VALUES (%s, %s, %s) RETURNING id
"""
_UPDATE = """
UPDATE operations.rebuilds SET position = %s, head = %s, events_per_second = %s, moved_at = now()
 WHERE id = %s
"""
_END = """
UPDATE operations.rebuilds SET outcome = %s, differences = %s, moved_at = now(), ended_at = now()
 WHERE id = %s
"""
_DIED = """
UPDATE operations.rebuilds SET outcome = %s, ended_at = moved_at
 WHERE outcome IS NULL AND projections && %s::text[]
"""


class RebuildProgress(msgspec.Struct, frozen=True):
    """The log is read up to `position` of `head`; `doing` is the current step."""

    doing: str
    position: int
    head: int
    events_per_second: float


OnProgress = Callable[[RebuildProgress], None]


@contextmanager
def exclusive(connection: psycopg.Connection, projections: Iterable[Projection]) -> Iterator[None]:
    """Only one rebuild of a table at a time. Raises `AlreadyRebuilding`.

    After an error of the block, the caller must close the connection, which releases the locks: the
    connection may be in the middle of a statement.
    """
    locked: list[Projection] = []
    for projection in projections:
        if not _run(connection, _LOCK, projection.schema):
            _unlock(connection, locked)
            raise AlreadyRebuilding(projection.name)
        locked.append(projection)
    yield
    _unlock(connection, locked)


def _unlock(connection: psycopg.Connection, projections: Iterable[Projection]) -> None:
    for projection in projections:
        _run(connection, _UNLOCK, projection.schema)


def _run(connection: psycopg.Connection, statement: str, schema: str) -> bool:
    row = connection.execute(statement.encode(), (schema,)).fetchone()
    return bool(row and row[0])


def mark_dead_rebuilds(connection: psycopg.Connection, projections: Iterable[Projection]) -> None:
    """Under the locks of these tables: rebuilds without an outcome have died."""
    schemas = [projection.schema for projection in projections]
    connection.execute(_DIED, (DIED, schemas))


def check_request(
    connection: psycopg.Connection, requested_at_position: int | None, projections: Iterable[Projection]
) -> None:
    """`None` is a rebuild without a request. Raises `RebuildFailed`."""
    if requested_at_position is None:
        return
    ids = load_stream_ids_blocking(connection)
    streams = [ids.read_table(projection.schema) for projection in projections]
    values = (requested_at_position, ReadTable.RebuildRequested.TOPIC, streams)
    if not connection.execute(_IS_REQUESTED, values).fetchone():
        message = f"the event at position {requested_at_position} requests no rebuild of that table"
        raise RebuildFailed(message)
    if connection.execute(_IS_STARTED, (requested_at_position,)).fetchone():
        message = f"the rebuild requested at position {requested_at_position} was started before"
        raise RebuildFailed(message)


class RebuildRecord:
    """The row of one rebuild. It shows that a request was started, so that it is started once."""

    def __init__(
        self,
        connection: psycopg.Connection,
        projections: Sequence[Projection],
        head: int,
        requested_at_position: int | None = None,
    ) -> None:
        self._connection = connection
        schemas = [projection.schema for projection in projections]
        mark_dead_rebuilds(connection, projections)
        row = connection.execute(_INSERT, (schemas, head, requested_at_position)).fetchone()
        self.id: int = row[0] if row else 0

    def update(self, position: int, head: int, events_per_second: float) -> None:
        self._connection.execute(_UPDATE, (position, head, events_per_second, self.id))


def record_outcome(
    connection: psycopg.Connection, record_id: int, outcome: str, differences: Any = None
) -> None:
    """The outcome is `done`, `cancelled`, `failed: …`, or one of a swapped rebuild."""
    connection.execute(_END, (outcome, None if differences is None else Jsonb(differences), record_id))


class ProgressReporter:
    """Writes the progress to the record, and passes it to `on_progress`."""

    def __init__(self, record: RebuildRecord, on_progress: OnProgress) -> None:
        self._record = record
        self._on_progress = on_progress
        self._began = time.monotonic()
        self.position = 0
        self.head = 0

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def report(self, position: int, head: int, doing: str = "folding") -> None:
        self.position, self.head = position, max(head, position)
        rate = position / max(self.seconds, 1e-6)
        self._record.update(position, self.head, rate)
        self._on_progress(RebuildProgress(doing, position, self.head, rate))

    def begin_step(self, doing: str) -> None:
        self.report(self.position, self.head, doing)
