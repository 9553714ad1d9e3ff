"""The writer: takes whatever saves are waiting and appends them in one transaction and one round trip."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

import psycopg
import structlog
from eventsourcing.persistence import StoredEvent

from huajuan.event_store.commit_check import stored_positions
from huajuan.event_store.errors import Conflict, LogBusy, LogError, LogUnavailable
from huajuan.event_store.limits import LogLimits
from huajuan.event_store.write_health import WriteHealth
from huajuan.postgres.connect import connect
from huajuan.postgres.retry import OUTAGES
from huajuan.postgres.timelines import Timelines

_APPEND = "SELECT base, refused FROM log.append(%b::int[], %b::uuid[], %b::bigint[], %b::text[], %b::bytea[])"
_logger = structlog.get_logger(__name__)


@dataclass(slots=True, eq=False)
class Save:
    """The rows of one save, all or none of which are appended; `done` gets their positions.

    `generation` is that of the server that its decision was made on.
    A save is in doubt once an outage left it unknown whether it was appended.
    """

    rows: Sequence[StoredEvent]
    done: asyncio.Future[list[int]]
    generation: int = 0
    in_doubt: bool = False

    def keys(self) -> set[tuple[UUID | str, int]]:
        return {(row.originator_id, row.originator_version) for row in self.rows}

    def tell(self, positions: list[int]) -> None:
        if not self.done.done():
            self.done.set_result(positions)

    def refuse(self, error: LogError) -> None:
        if not self.done.done():
            self.done.set_exception(error)


class Writer:
    """One connection and one coroutine a process. The batch is what came in during the last commit."""

    def __init__(
        self,
        dsn: str,
        limits: LogLimits,
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
        """Appends what is waiting, then closes; what comes later is refused."""
        self._closing = True
        self._wake.set()
        if self._task:
            await self._task
        await self._hang_up()

    @property
    def backend(self) -> int:
        """The process number of this writer's Postgres backend, 0 while there is none."""
        return self._connection.info.backend_pid if self._connection and not self._connection.closed else 0

    async def append(self, rows: Sequence[StoredEvent], generation: int | None = None) -> list[int]:
        """The positions given to `rows`, which were decided on a server of this generation, the present one if `None`.

        Raises `Conflict` or `LogBusy` when nothing was appended, `LogUnavailable` when that is unknown.
        """
        if self._closing or len(self._waiting) >= self._limits.queue_saves_max:
            raise LogBusy
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
                await self._write_or_refuse(self._take_batch())

    def _take_batch(self) -> list[Save]:
        """The saves that have waited longest. Of two that claim one version, the later loses here."""
        batch: list[Save] = []
        taken: set[tuple[UUID | str, int]] = set()
        while self._waiting and len(batch) < self._limits.batch_saves_max:
            save = self._waiting.popleft()
            if save.done.done():  # its caller went away before anything was sent
                continue
            if taken.isdisjoint(keys := save.keys()):
                taken |= keys
                batch.append(save)
            else:
                save.refuse(Conflict())
        return batch

    async def _write_or_refuse(self, batch: list[Save]) -> None:
        try:
            await self._write_through_outages(batch)
        except LogUnavailable as error:
            _refuse_all(batch, error)
        except Exception as error:  # noqa: BLE001  the writer outlives whatever one batch runs into
            await self._write_apart(batch, error)

    async def _write_apart(self, batch: list[Save], error: Exception) -> None:
        """One save that Postgres cannot take must not fail the others of its batch."""
        if len(batch) > 1:
            for save in batch:
                await self._write_or_refuse([save])
        else:
            self._health.failed(error)
            _logger.error("save failed", exc_info=error)
            _refuse_all(batch, LogError(type(error).__name__))

    async def _write_through_outages(self, batch: list[Save]) -> None:
        give_up_at = asyncio.get_running_loop().time() + self._limits.reconnect_seconds_max
        while open_saves := [save for save in batch if not save.done.done()]:
            try:
                present = self._timelines.generation
                if outdated := [save for save in open_saves if save.generation != present]:
                    await self._settle_outdated(outdated)
                else:
                    await self._write(open_saves)
            except OUTAGES as error:
                self._health.failed(error)
                _logger.warning("log connection lost", error=type(error).__name__, saves=len(open_saves))
                for save in open_saves:
                    save.in_doubt = True
                await self._reconnect(give_up_at)

    async def _write(self, batch: list[Save]) -> None:
        base, refused = await self._send(batch)
        self._health.succeeded()
        for number, save in enumerate(batch):
            if number not in refused:
                save.tell([base + n for n in range(1, len(save.rows) + 1)])
                base += len(save.rows)
            else:
                await self._settle_refused(save)
        self._on_appended(base)

    async def _settle_outdated(self, saves: list[Save]) -> None:
        """They were decided on a server that another has replaced, which may lack what they were decided on."""
        for save in saves:
            await self._settle_refused(save)

    async def _settle_refused(self, save: Save) -> None:
        """After an outage a refusal may be of our own first copy: then it was appended after all."""
        positions = await self._look_up(save) if save.in_doubt else None
        if positions:
            save.tell(positions)
        else:
            save.refuse(Conflict())

    async def _look_up(self, save: Save) -> list[int] | None:
        async with asyncio.timeout(self._limits.append_seconds_max):
            return await stored_positions(self._live_connection(), save.rows)

    async def _send(self, batch: list[Save]) -> tuple[int, set[int]]:
        async with asyncio.timeout(self._limits.append_seconds_max):
            cursor = await self._live_connection().execute(_APPEND, _columns(batch), prepare=True)
            row = await cursor.fetchone()
        self._live_connection()  # else the answer came from a server that was replaced meanwhile
        base, refused = row or (0, None)
        return base, set(refused or ())

    def _live_connection(self) -> psycopg.AsyncConnection:
        if self._connection is None:
            raise psycopg.InterfaceError("not connected")
        if self._connected_in != self._timelines.generation:
            raise psycopg.InterfaceError("connected to a server that was replaced")
        return self._connection

    async def _reconnect(self, give_up_at: float) -> None:
        await self._hang_up()
        pause = self._limits.reconnect_pause_seconds
        while asyncio.get_running_loop().time() < give_up_at:
            await asyncio.sleep(pause)
            with contextlib.suppress(*OUTAGES):
                self._connection = await self._connect()
                return
            pause = min(pause * 2, self._limits.reconnect_pause_seconds_max)
        raise LogUnavailable

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

    async def _hang_up(self) -> None:
        if self._connection:
            with contextlib.suppress(psycopg.Error):
                await self._connection.close()
        self._connection = None


def _refuse_all(batch: list[Save], error: LogError) -> None:
    for save in batch:
        save.refuse(error)


def _columns(batch: list[Save]) -> tuple[list[object], ...]:
    """Save number, stream, version, topic and state of each row, as five lists."""
    rows = [
        (number, row.originator_id, row.originator_version, row.topic, row.state)
        for number, save in enumerate(batch)
        for row in save.rows
    ]
    return tuple(map(list, zip(*rows, strict=True)))
