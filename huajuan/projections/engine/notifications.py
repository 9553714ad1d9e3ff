"""LISTEN and NOTIFY between processes: other processes' appended events and folded positions."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog
from psycopg import AsyncConnection, sql

from huajuan.event_store.schema import EVENTS_CHANNEL
from huajuan.postgres.connect import connect
from huajuan.postgres.retry import OUTAGES, Backoff
from huajuan.projections.engine.checkpoints import Positions, process_name
from huajuan.projections.engine.projection import ProjectionLimits

FOLDED_CHANNEL = "huajuan_folded"
STOPPED = "stopped"
# The application name of a listening connection is this, the server's cache holder and the process name. It
# shows others that the process serves, and to which server it belongs.
SERVING = "huajuan serves"
_NOTIFY = b"SELECT pg_notify(%b, %b)"
_logger = structlog.get_logger(__name__)


def format_positions(positions: Iterable[tuple[str, int | str]]) -> str:
    """The payload of a notification: a line a projection, with its schema and its position or `STOPPED`."""
    return "\n".join(f"{schema} {position}" for schema, position in positions)


class PositionPublisher:
    """One a process. It sends the newest positions only, and outside of a fold's transaction: Postgres
    serializes the commits of all transactions that notify, so folds would wait for the disk writes of
    appends.

    Processes that miss a notification poll every `poll_seconds`.
    """

    def __init__(self, dsn: str, limits: ProjectionLimits) -> None:
        self.backend = 0
        self._dsn = dsn
        self._limits = limits
        self._waiting: dict[str, int | str] = {}
        self._wakeup = asyncio.Event()

    def publish(self, schemas: Iterable[str], position: int | str) -> None:
        self._waiting |= dict.fromkeys(schemas, position)
        self._wakeup.set()

    async def run(self) -> None:
        """Runs until cancelled."""
        await run_connected(self._connect, self._send_all, self._limits, "positions not published")

    async def _connect(self) -> AsyncConnection:
        return await connect(self._dsn, self._limits.connect_seconds_max, "SET synchronous_commit = off")

    async def _send_all(self, connection: AsyncConnection) -> None:
        self.backend = connection.info.backend_pid
        while True:
            await self._wakeup.wait()
            self._wakeup.clear()
            positions, self._waiting = self._waiting, {}
            payload = format_positions(positions.items())
            await connection.execute(_NOTIFY, (FOLDED_CHANNEL, payload), prepare=True)


class NotificationSubscriber(Protocol):
    """Gets the notifications of a channel, and learns when listening begins and ends."""

    def on_notification(self, payload: str) -> None: ...
    def on_listening(self, is_listening: bool, /) -> None: ...


@dataclass
class NotificationListener:
    """One LISTEN connection a process. A lost connection loses no event: runners poll, and wake up on a new
    one.

    `subscribers` get the notifications of the channels that they are named by. Notifications of this
    process's own appends and folds, sent by `own_backends`, are ignored.
    """

    dsn: str
    appended_elsewhere: Callable[[], None]
    positions: Positions
    limits: ProjectionLimits
    own_backends: Sequence[Callable[[], int]]
    subscribers: Mapping[str, NotificationSubscriber]
    holder: str

    async def run(self) -> None:
        """Runs until cancelled."""
        await run_connected(self._connect, self._listen, self.limits, "notifications lost")

    async def _connect(self) -> AsyncConnection:
        channels = (EVENTS_CHANNEL, FOLDED_CHANNEL, *self.subscribers)
        statements = [f"LISTEN {channel}" for channel in channels]
        name = sql.SQL("SET application_name = {}").format(f"{SERVING} {self.holder} {process_name()}")
        return await connect(self.dsn, self.limits.connect_seconds_max, name, *statements)

    async def _listen(self, connection: AsyncConnection) -> None:
        try:
            # Not before the LISTEN: there was no notification of events that were appended before it.
            self.appended_elsewhere()
            self._set_listening(is_listening=True)
            await self._dispatch_all(connection)
        finally:
            self._set_listening(is_listening=False)

    def _set_listening(self, *, is_listening: bool) -> None:
        for subscriber in self.subscribers.values():
            subscriber.on_listening(is_listening)

    async def _dispatch_all(self, connection: AsyncConnection) -> None:
        async for notify in connection.notifies():
            if subscriber := self.subscribers.get(notify.channel):
                subscriber.on_notification(notify.payload)
            elif any(notify.pid == backend() for backend in self.own_backends):
                continue
            elif notify.channel == FOLDED_CHANNEL:
                self._read_positions(notify.payload)
            else:
                self.appended_elsewhere()

    def _read_positions(self, payload: str) -> None:
        values = dict(line.split() for line in payload.splitlines())
        self.positions.advance({name: int(value) for name, value in values.items() if value != STOPPED})
        for name, value in values.items():
            if value == STOPPED:
                self.positions.mark_stopped(name)


async def run_connected(
    connect: Callable[[], Awaitable[AsyncConnection]],
    work: Callable[[AsyncConnection], Awaitable[None]],
    limits: ProjectionLimits,
    lost: str,
) -> None:
    """Run `work` on a connection, and again on a new one after each outage, with exponential backoff.

    Runs until cancelled. `lost` is the log message of an outage.
    """
    backoff = Backoff(
        pause_seconds=limits.retry_pause_seconds, pause_seconds_max=limits.retry_pause_seconds_max
    )
    while True:
        try:
            async with await connect() as connection:
                backoff.reset()
                await work(connection)
        except OUTAGES as error:
            _logger.warning(lost, error=type(error).__name__)
        await backoff.pause()
