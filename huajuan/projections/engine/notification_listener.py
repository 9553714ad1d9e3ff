"""Hears, over one LISTEN connection a process, what other processes appended and folded."""

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import psycopg
import structlog
from psycopg import sql

from huajuan.event_store.schema import EVENTS_CHANNEL
from huajuan.postgres.connect import connect
from huajuan.projections.engine.limits import ProjectionLimits
from huajuan.projections.engine.position_publisher import FOLDED_CHANNEL, STOPPED
from huajuan.projections.engine.positions import Positions
from huajuan.projections.engine.process_name import SERVING, own_name
from huajuan.projections.engine.reconnect import stay_connected

_logger = structlog.get_logger(__name__)


class Ear(Protocol):
    """Somebody else who wants to hear: what is said on a channel, and whether it can be heard at all."""

    def hear(self, words: str) -> None: ...
    def hearing(self, is_hearing: bool, /) -> None: ...


class Signals:
    """Losing the connection loses no event: the runners poll, and are woken when it is back.

    `ears` hear the channels they are named by.
    """

    def __init__(
        self,
        dsn: str,
        appended_elsewhere: Callable[[], None],
        positions: Positions,
        limits: ProjectionLimits,
        own_backends: Iterable[Callable[[], int]],
        ears: Mapping[str, Ear],
        tag: str,
    ) -> None:
        self._dsn = dsn
        self._appended_elsewhere = appended_elsewhere
        self._positions = positions
        self._limits = limits
        self._own_backends = tuple(own_backends)
        self._ears = ears
        self._tag = tag

    async def run(self) -> None:
        """For ever."""
        await stay_connected(self._connect, self._hear, self._limits, "signals lost")

    async def _hear(self, connection: psycopg.AsyncConnection) -> None:
        try:
            await self._listen(connection)
        finally:
            self._tell_hearing(is_hearing=False)

    async def _connect(self) -> psycopg.AsyncConnection:
        channels = (EVENTS_CHANNEL, FOLDED_CHANNEL, *self._ears)
        statements = [f"LISTEN {channel}" for channel in channels]
        # By this name others see that somebody serves, and of which server it is.
        name = sql.SQL("SET application_name = {}").format(f"{SERVING} {self._tag} {own_name()}")
        return await connect(self._dsn, self._limits.connect_seconds_max, name, *statements)

    def _tell_hearing(self, *, is_hearing: bool) -> None:
        for ear in self._ears.values():
            ear.hearing(is_hearing)

    async def _listen(self, connection: psycopg.AsyncConnection) -> None:
        # Only now: what was appended before the LISTEN took effect rang no bell here.
        self._appended_elsewhere()
        self._tell_hearing(is_hearing=True)
        async for notify in connection.notifies():
            if ear := self._ears.get(notify.channel):
                ear.hear(notify.payload)
            elif any(notify.pid == backend() for backend in self._own_backends):
                continue
            elif notify.channel == FOLDED_CHANNEL:
                self._hear_positions(notify.payload)
            else:
                self._appended_elsewhere()

    def _hear_positions(self, payload: str) -> None:
        news = dict(line.split() for line in payload.splitlines())
        self._positions.moved({name: int(said) for name, said in news.items() if said != STOPPED})
        for name, said in news.items():
            if said == STOPPED:
                self._positions.stopped(name)
