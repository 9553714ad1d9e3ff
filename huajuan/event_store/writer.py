"""The writer: appends all waiting saves as one batch, in one transaction and one round trip."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

import msgspec
import psycopg
import structlog
from eventsourcing.persistence import StoredEvent

from huajuan.event_store.errors import Conflict, DatabaseBusy, DatabaseFailure, DatabaseUnavailable
from huajuan.event_store.write_health import WriteHealth
from huajuan.postgres.connect import connect
from huajuan.postgres.errors import OUTAGES
from huajuan.postgres.retry import Backoff
from huajuan.postgres.timelines import Timelines

_APPEND = "SELECT base, refused FROM log.append(%b::int[], %b::uuid[], %b::bigint[], %b::text[], %b::bytea[])"
# Finds, after an outage, whether the rows of a save were appended before the connection was lost.
_COMMITTED = """
SELECT n.i, e.notification_id
  FROM unnest(%b::uuid[], %b::bigint[], %b::text[], %b::bytea[])
       WITH ORDINALITY AS n(stream, version, topic, state, i)
  JOIN log.huajuan_events e ON e.originator_id = n.stream AND e.originator_version = n.version
       AND e.topic = n.topic AND e.state = n.state
 ORDER BY n.i
"""
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


@dataclass(slots=True, eq=False)
class Save:
    """The rows of one save, which are appended all or not at all. `done` gets their positions.

    `generation` is that of the database server on whose state the decision was made.
    A save is in doubt after an outage during its append: it is unknown whether it was committed.
    """

    rows: Sequence[StoredEvent]
    done: asyncio.Future[list[int]]
    generation: int = 0
    in_doubt: bool = False

    def keys(self) -> set[tuple[UUID | str, int]]:
        return {(row.originator_id, row.originator_version) for row in self.rows}

    def resolve(self, positions: list[int]) -> None:
        if not self.done.done():
            self.done.set_result(positions)

    def reject(self, error: DatabaseFailure) -> None:
        if not self.done.done():
            self.done.set_exception(error)


class Writer:
    """One per process, with one connection and one task.

    A batch has the saves that arrived during the last commit.
    """

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
        """Appends `rows` and returns their positions. `generation` is that of the decision, `None` for the
        current one.

        Raises `Conflict` or `DatabaseBusy` where nothing was appended, `DatabaseUnavailable` where that is
        unknown.
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
            if taken.isdisjoint(keys := save.keys()):
                taken |= keys
                batch.append(save)
            else:
                save.reject(Conflict())
        return batch

    async def _write_or_reject(self, batch: list[Save]) -> None:
        try:
            await self._write_with_retry(batch)
        except DatabaseUnavailable as error:
            _reject_all(batch, error)
        except Exception as error:  # noqa: BLE001  the writer survives any error of a batch
            await self._write_separately(batch, error)

    async def _write_separately(self, batch: list[Save], error: Exception) -> None:
        """One save that Postgres rejects must not fail the others of its batch."""
        if len(batch) > 1:
            for save in batch:
                await self._write_or_reject([save])
        else:
            self._health.failed(error)
            _logger.error("save failed", exc_info=error)
            _reject_all(batch, DatabaseFailure(type(error).__name__))

    async def _write_with_retry(self, batch: list[Save]) -> None:
        backoff = Backoff(
            self._limits.reconnect_seconds_max,
            self._limits.reconnect_pause_seconds,
            self._limits.reconnect_pause_seconds_max,
        )
        while open_saves := [save for save in batch if not save.done.done()]:
            try:
                present = self._timelines.generation
                if outdated := [save for save in open_saves if save.generation != present]:
                    await self._resolve_outdated(outdated)
                else:
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

    async def _resolve_outdated(self, saves: list[Save]) -> None:
        """Their decisions were made on a server that was replaced.

        The new one may lack the events they depend on.
        """
        for save in saves:
            await self._resolve_rejected(save)

    async def _resolve_rejected(self, save: Save) -> None:
        """After an outage the conflict may be with our own first attempt. Then the save was appended."""
        positions = await self._find_committed(save) if save.in_doubt else None
        if positions:
            save.resolve(positions)
        else:
            save.reject(Conflict())

    async def _find_committed(self, save: Save) -> list[int] | None:
        """The positions of the rows if each is stored byte for byte, else `None`."""
        columns = _columns([save])[1:]
        async with asyncio.timeout(self._limits.append_seconds_max):
            cursor = await self._live_connection().execute(_COMMITTED, columns, prepare=True)
            found = await cursor.fetchall()
        return [position for _, position in found] if len(found) == len(save.rows) else None

    async def _send(self, batch: list[Save]) -> tuple[int, set[int]]:
        async with asyncio.timeout(self._limits.append_seconds_max):
            cursor = await self._live_connection().execute(_APPEND, _columns(batch), prepare=True)
            row = await cursor.fetchone()
        self._live_connection()  # raises where the answer came from a server that was replaced meanwhile
        base, refused = row or (0, None)
        return base, set(refused or ())

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
        connection = await connect(self._dsn, self._limits.append_seconds_max)
        try:
            async with asyncio.timeout(self._limits.append_seconds_max):
                await self._timelines.check(connection)
        except BaseException:
            await connection.close()
            raise
        self._connected_in = self._timelines.generation
        return connection

    async def _disconnect(self) -> None:
        if self._connection:
            with contextlib.suppress(psycopg.Error):
                await self._connection.close()
        self._connection = None


def _reject_all(batch: list[Save], error: DatabaseFailure) -> None:
    for save in batch:
        save.reject(error)


def _columns(batch: list[Save]) -> tuple[list[object], ...]:
    """Save number, stream, version, topic and state of each row, as five lists."""
    rows = [
        (number, row.originator_id, row.originator_version, row.topic, row.state)
        for number, save in enumerate(batch)
        for row in save.rows
    ]
    return tuple(map(list, zip(*rows, strict=True)))
