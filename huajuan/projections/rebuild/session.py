"""Shared by the steps of a rebuild: limits, errors, database connections, locks, and the record of each one.

The records are in `operations.rebuilds`.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import psycopg
from psycopg import sql
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.pq import Format
from psycopg.types.json import Jsonb

from huajuan.domain.read_table import ReadTable
from huajuan.event_store.stream_ids import load_stream_ids_blocking
from huajuan.postgres.connect import connect_blocking
from huajuan.projections.engine.projection import Projection
from huajuan.projections.engine.status import DIED
from huajuan.runtime.errors import OperatorError

# The interval at which the server checks, during a statement, whether the client is still connected.
CHECK_MILLISECONDS = 1000
# The session of the rebuild holds the lock, so it is released whatever ends the rebuild.
_LOCK = """
SELECT schema FROM unnest(%s::text[]) AS wanted (schema)
 WHERE NOT pg_try_advisory_lock(hashtext('huajuan rebuild ' || schema))
"""
_UNLOCK = (
    "SELECT pg_advisory_unlock(hashtext('huajuan rebuild ' || schema)) FROM unnest(%s::text[]) AS schema"
)
_IS_REQUESTED = """
SELECT 1 FROM log.huajuan_events WHERE notification_id = %s AND topic = %s AND originator_id = ANY(%s)
"""
_IS_STARTED = "SELECT 1 FROM operations.rebuilds WHERE requested_at_position = %s"
_INSERT = """
INSERT INTO operations.rebuilds (projections, head, requested_at_position) VALUES (%s, 0, %s) RETURNING id
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


class RebuildLimits(msgspec.Struct, frozen=True):
    """Memory grows with `page_events_max` and, for each table, with `rows_kept_max`, but not with the log."""

    page_events_max: int = 10_000
    rows_kept_max: int = 100_000
    # The last step begins when the new tables are at most so far behind the live ones, which wait for it.
    last_step_events_max: int = 500
    catch_up_rounds_max: int = 100
    # How long a swap waits for the lock of one checkpoint, while it holds those of others, before it releases
    # them.
    swap_wait_seconds_max: float = 0.25
    swap_pause_seconds: float = 0.25
    swap_tries_max: int = 240
    # One core is left for the service.
    indexes_at_once_max: int = max(1, (os.cpu_count() or 1) - 1)
    index_memory_mb: int = 128
    # A DROP waits for readers in short tries, because new readers queue up behind it.
    drop_wait_seconds_max: float = 0.5
    drop_tries_max: int = 10
    # The time limit of each statement of a cleanup.
    leftovers_seconds_max: float = 10
    differences_shown_max: int = 10


class RebuildFailed(OperatorError):
    """There are no new tables, and the old ones are still served. The message is the reason."""


class AlreadyRebuilding(RebuildFailed):
    """Another process rebuilds one of these tables now."""

    def __init__(self, table: str) -> None:
        super().__init__(f"{table} is being rebuilt already")


class EventNotFolded(RebuildFailed):
    """An event could not be folded."""

    def __init__(self, projection: str, position: int, error: BaseException | None) -> None:
        super().__init__(f"{projection} cannot fold the event at position {position}: {type(error).__name__}")


class SchemaInUse(RebuildFailed):
    """A schema of an earlier rebuild cannot be dropped, because a transaction reads it."""

    def __init__(self, schema: str) -> None:
        super().__init__(f"{schema}, a schema of an earlier rebuild, is still being read; try again later")


class SwapTimeout(RebuildFailed):
    """The checkpoint of a live table was locked for too long."""

    def __init__(self) -> None:
        super().__init__(
            "the swap gave up: another process locked the checkpoint of a live table for too long"
        )


@contextmanager
def connection(dsn: str, *, niced: bool = False) -> Iterator[psycopg.Connection]:
    """In autocommit mode. A crash of Postgres may lose new tables, but not parts of them.

    With `niced`, a Postgres server on this machine works with the priority of this process, if that is
    permitted. It is for long work, and not for statements for which the live tables wait.
    """
    session = (
        f"SET client_connection_check_interval = {CHECK_MILLISECONDS}",
        "SET synchronous_commit = off",
    )
    with connect_blocking(dsn, *session, application_name="huajuan_rebuild") as opened:
        opened.adapters.register_loader("uuid", _FastUUID)
        if niced:
            _set_backend_priority(opened)
        yield opened


def _set_backend_priority(opened: psycopg.Connection) -> None:
    pid = opened.info.backend_pid
    with suppress(OSError):
        # If Postgres runs on another machine or in a container, the number belongs to another process or to
        # none.
        if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"postgres: "):
            os.setpriority(os.PRIO_PROCESS, pid, os.getpriority(os.PRIO_PROCESS, 0))
            opened.execute("SET max_parallel_workers_per_gather = 0")


class _FastUUID(Loader):
    """msgspec makes a UUID from bytes three times as fast as the class does."""

    format = Format.BINARY

    def load(self, data: Buffer) -> UUID:
        return msgspec.convert(bytes(data), UUID)


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
    names = {projection.schema: projection.name for projection in projections}
    if others := [schema for (schema,) in connection.execute(_LOCK, (list(names),)).fetchall()]:
        connection.execute(_UNLOCK, ([schema for schema in names if schema not in others],))
        raise AlreadyRebuilding(names[others[0]])
    yield
    connection.execute(_UNLOCK, (list(names),))


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
    """The row of one rebuild. It shows that a request was started, so that it is started once.

    The progress is passed to `on_progress` as well.
    """

    def __init__(
        self,
        connection: psycopg.Connection,
        projections: Sequence[Projection],
        requested_at_position: int | None = None,
        on_progress: OnProgress = lambda _: None,
    ) -> None:
        self._connection = connection
        self._on_progress = on_progress
        self._began = time.monotonic()
        self._position = self._head = 0
        mark_dead_rebuilds(connection, projections)
        schemas = [projection.schema for projection in projections]
        ((self._id,),) = connection.execute(_INSERT, (schemas, requested_at_position)).fetchall()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def report(self, position: int, head: int, doing: str = "folding") -> None:
        self._position, self._head = position, max(head, position)
        rate = position / max(self.seconds, 1e-6)
        self._connection.execute(_UPDATE, (position, self._head, rate, self._id))
        self._on_progress(RebuildProgress(doing, position, self._head, rate))

    def begin_step(self, doing: str) -> None:
        self.report(self._position, self._head, doing)

    def end(self, connection: psycopg.Connection, outcome: str, differences: Any = None) -> None:
        """The outcome is `done`, `cancelled`, `failed: …`, or one of a swapped rebuild."""
        connection.execute(_END, (outcome, None if differences is None else Jsonb(differences), self._id))


def drop_schemas(opened: psycopg.Connection, schemas: Iterable[str], limits: RebuildLimits) -> list[str]:
    """Returns those that could not be dropped because they are being read."""
    return [schema for schema in schemas if not _drop(opened, schema, limits)]


def _drop(opened: psycopg.Connection, schema: str, limits: RebuildLimits) -> bool:
    statement = sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(schema))
    milliseconds = max(1, round(limits.drop_wait_seconds_max * 1000))
    for turn in range(limits.drop_tries_max):
        if turn:
            time.sleep(limits.drop_wait_seconds_max)
        with suppress(psycopg.errors.LockNotAvailable), opened.transaction():
            opened.execute(f"SET LOCAL lock_timeout = {milliseconds}".encode())
            opened.execute(statement)
            return True
    return False
