"""The writer: appends all waiting saves as one batch, in one transaction and one round trip."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec
import psycopg
import structlog
from eventsourcing.persistence import StoredEvent
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from huajuan.event_store.errors import Conflict, DatabaseBusy, DatabaseFailure, DatabaseUnavailable
from huajuan.postgres.connect import connect
from huajuan.postgres.retry import OUTAGES, Backoff
from huajuan.postgres.timelines import Timelines
from huajuan.runtime.health import Problem
from huajuan.runtime.periodic import periodic

_APPEND = b"""
SELECT base, refused FROM log.append(%b::int[], %b::uuid[], %b::bigint[], %b::text[], %b::bytea[])
"""
# Finds, after an outage, whether the rows of a save were appended before the connection was lost.
_COMMITTED = b"""
SELECT n.i, e.notification_id
  FROM unnest(%b::uuid[], %b::bigint[], %b::text[], %b::bytea[])
       WITH ORDINALITY AS n(stream, version, topic, state, i)
  JOIN log.huajuan_events e ON e.originator_id = n.stream AND e.originator_version = n.version
       AND e.topic = n.topic AND e.state = n.state
 ORDER BY n.i
"""
FAILURES_MAX = 3
PROBE_AFTER_SECONDS = 10.0
PROBE_AGAIN_SECONDS = 1.0
_PROBE = """
INSERT INTO operations.write_probe (written_at) VALUES (now())
ON CONFLICT (one) DO UPDATE SET written_at = excluded.written_at
"""
# Errors of the content of one write.
_OF_CONTENT = (psycopg.DataError, psycopg.IntegrityError)
_logger = structlog.get_logger(__name__)


class EventStoreLimits(msgspec.Struct, frozen=True):
    """The bounds of the event store of one process."""

    queue_saves_max: int = 10_000
    batch_saves_max: int = 512
    append_seconds_max: float = 10
    reconnect_seconds_max: float = 20
    reconnect_pause_seconds: float = 0.05
    reconnect_pause_seconds_max: float = 1
    conflict_seconds_max: float = 5
    lock_seconds_max: float = 30
    # While the clock is behind the newest event by at most this, new events get that event's time.
    clock_behind_seconds_max: float = 3600
    aggregates_cached_max: int = 10_000
    keys_cached_max: int = 50_000
    snapshot_every_events: int = 100
    snapshot_after_events_read: int = 20
    snapshots_waiting_max: int = 1_000
    page_events_max: int = 1_000


class WriteHealth:
    """Counts failed writes: a database that is read-only, or whose disk is full, may still answer reads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tried_at = clock()
        self._failures = 0
        self._reason = ""

    def succeeded(self) -> None:
        self._tried_at = self._clock()
        self._failures = 0

    def failed(self, error: Exception) -> None:
        if not isinstance(error, _OF_CONTENT):
            self._tried_at = self._clock()
            self._failures += 1
            self._reason = type(error).__name__

    def problems(self) -> Iterable[Problem]:
        if self._failures >= FAILURES_MAX:
            detail = f"The last {self._failures} writes to the database failed: {self._reason}."
            yield Problem("database_refuses_writes", detail, blocking=True)

    @property
    def probe_due_in_seconds(self) -> float:
        """The time until a probe is due, because nothing else was written. After a failure it is short."""
        wait = PROBE_AGAIN_SECONDS if self._failures else PROBE_AFTER_SECONDS
        return self._tried_at + wait - self._clock()


async def run_write_probe(health: WriteHealth, pool: AsyncConnectionPool) -> None:
    """Writes one row whenever nothing else was written for a while, until the task is cancelled."""

    async def probe() -> None:
        if health.probe_due_in_seconds > 0:
            return
        try:
            async with pool.connection() as connection:
                await connection.execute(_PROBE)
            health.succeeded()
        except (psycopg.Error, PoolTimeout, TimeoutError) as error:
            health.failed(error)

    await periodic("write probe", probe, PROBE_AGAIN_SECONDS)


@dataclass(slots=True, eq=False)
class Save:
    """The rows of one save, which are appended all or not at all. `done` gets their positions.

    `generation` is that of the database server on whose state the decision was made. A save is in doubt
    after an outage during its append: it is unknown whether it was committed.
    """

    rows: Sequence[StoredEvent]
    done: asyncio.Future[list[int]]
    generation: int = 0
    in_doubt: bool = False

    def resolve(self, positions: list[int]) -> None:
        if not self.done.done():
            self.done.set_result(positions)

    def reject(self, error: DatabaseFailure) -> None:
        if not self.done.done():
            self.done.set_exception(error)


class Writer:
    """One per process, with one connection and one task. A batch has the saves of the last commit's time."""

    def __init__(
        self,
        dsn: str,
        limits: EventStoreLimits,
        on_appended: Callable[[int], None] = lambda _: None,
        health: WriteHealth | None = None,
        timelines: Timelines | None = None,
    ) -> None:
        self._dsn = dsn
        self._limits = limits
        self._on_appended = on_appended
        self._health = health or WriteHealth()
        self._timelines = timelines or Timelines()
        self._connected_in = 0
        self._waiting: deque[Save] = deque()
        self._wake = asyncio.Event()
        self._connection: psycopg.AsyncConnection | None = None
        self._task: asyncio.Task[None] | None = None
        self._closing = False

    async def open(self) -> None:
        self._connection = await self._connect()
        self._task = asyncio.create_task(self._run(), name="log writer")

    async def close(self) -> None:
        """Appends the waiting saves, then closes. Later saves raise `DatabaseBusy`."""
        self._closing = True
        self._wake.set()
        if self._task:
            await self._task
        await self._disconnect()

    @property
    def backend(self) -> int:
        """The process id of this writer's Postgres backend, 0 while it is not connected."""
        return self._connection.info.backend_pid if self._connection and not self._connection.closed else 0

    async def append(self, rows: Sequence[StoredEvent], generation: int | None = None) -> list[int]:
        """Returns the positions of `rows`. `generation` is that of the decision, `None` the current one.

        Raises `Conflict` or `DatabaseBusy` where nothing was appended, `DatabaseUnavailable` if unknown.
        """
        if self._closing or len(self._waiting) >= self._limits.queue_saves_max:
            raise DatabaseBusy
        present = self._timelines.generation
        if generation not in (None, present):
            raise Conflict
        save = Save(rows, asyncio.get_running_loop().create_future(), present)
        self._waiting.append(save)
        self._wake.set()
        return await save.done

    async def _run(self) -> None:
        while not (self._closing and not self._waiting):
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                await self._write_or_reject(self._take_batch())

    def _take_batch(self) -> list[Save]:
        """The oldest waiting saves. Of two that append the same version, the later one is rejected here."""
        batch: list[Save] = []
        taken: set[tuple[UUID | str, int]] = set()
        while self._waiting and len(batch) < self._limits.batch_saves_max:
            save = self._waiting.popleft()
            if save.done.done():  # the caller was cancelled before anything was sent
                continue
            keys = {(row.originator_id, row.originator_version) for row in save.rows}
            if taken.isdisjoint(keys):
                taken |= keys
                batch.append(save)
            else:
                save.reject(Conflict())
        return batch

    async def _write_or_reject(self, batch: list[Save]) -> None:
        """Survives any error. One save that Postgres rejects must not fail the others of its batch."""
        try:
            await self._write_with_retry(batch)
        except DatabaseUnavailable as error:
            for save in batch:
                save.reject(error)
        except Exception as error:
            if len(batch) > 1:
                for save in batch:
                    await self._write_or_reject([save])
            else:
                self._health.failed(error)
                _logger.error("save failed", exc_info=error)
                batch[0].reject(DatabaseFailure(type(error).__name__))

    async def _write_with_retry(self, batch: list[Save]) -> None:
        backoff = Backoff(
            self._limits.reconnect_seconds_max,
            self._limits.reconnect_pause_seconds,
            self._limits.reconnect_pause_seconds_max,
        )
        while open_saves := [save for save in batch if not save.done.done()]:
            try:
                present = self._timelines.generation
                # Decided on a server that was replaced: the new one may lack the events they depend on.
                outdated = [save for save in open_saves if save.generation != present]
                for save in outdated:
                    await self._resolve_rejected(save)
                if not outdated:
                    await self._write(open_saves)
            except OUTAGES as error:
                self._health.failed(error)
                _logger.warning("log connection lost", error=type(error).__name__, saves=len(open_saves))
                for save in open_saves:
                    save.in_doubt = True
                await self._reconnect(backoff)

    async def _write(self, batch: list[Save]) -> None:
        base, refused = await self._send(batch)
        self._health.succeeded()
        for number, save in enumerate(batch):
            if number not in refused:
                save.resolve([base + n for n in range(1, len(save.rows) + 1)])
                base += len(save.rows)
            else:
                await self._resolve_rejected(save)
        self._on_appended(base)

    async def _resolve_rejected(self, save: Save) -> None:
        """After an outage the conflict may be with our own first attempt: then its rows are stored."""
        found = await self._execute(_COMMITTED, _columns([save])[1:]) if save.in_doubt else []
        if len(found) == len(save.rows):
            save.resolve([position for _, position in found])
        else:
            save.reject(Conflict())

    async def _send(self, batch: list[Save]) -> tuple[int, set[int]]:
        ((base, refused),) = await self._execute(_APPEND, _columns(batch))
        self._live_connection()  # raises where the answer came from a server that was replaced meanwhile
        return base, set(refused or ())

    async def _execute(self, query: bytes, columns: tuple[list[object], ...]) -> list[tuple[Any, ...]]:
        async with asyncio.timeout(self._limits.append_seconds_max):
            cursor = await self._live_connection().execute(query, columns, prepare=True)
            return await cursor.fetchall()

    def _live_connection(self) -> psycopg.AsyncConnection:
        if self._connection is None:
            raise psycopg.InterfaceError("not connected")
        if self._connected_in != self._timelines.generation:
            raise psycopg.InterfaceError("connected to a server that was replaced")
        return self._connection

    async def _reconnect(self, backoff: Backoff) -> None:
        """Raises `DatabaseUnavailable` at the deadline of `backoff`."""
        await self._disconnect()
        backoff.reset()
        while await backoff.pause():
            with contextlib.suppress(*OUTAGES):
                self._connection = await self._connect()
                return
        raise DatabaseUnavailable

    async def _connect(self) -> psycopg.AsyncConnection:
        connection = await connect(self._dsn, self._limits.append_seconds_max, timelines=self._timelines)
        self._connected_in = self._timelines.generation
        return connection

    async def _disconnect(self) -> None:
        if self._connection:
            with contextlib.suppress(psycopg.Error):
                await self._connection.close()
        self._connection = None


def _columns(batch: list[Save]) -> tuple[list[object], ...]:
    """Save number, stream, version, topic and state of each row, as five lists."""
    rows = [
        (number, row.originator_id, row.originator_version, row.topic, row.state)
        for number, save in enumerate(batch)
        for row in save.rows
    ]
    return tuple(map(list, zip(*rows, strict=True)))
