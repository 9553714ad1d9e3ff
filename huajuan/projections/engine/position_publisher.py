"""Tells other processes how far the projections have folded, over a connection of its own."""

import asyncio
from collections.abc import Iterable

import psycopg
import structlog

from huajuan.postgres.connect import connect
from huajuan.projections.engine.limits import ProjectionLimits
from huajuan.projections.engine.reconnect import stay_connected

FOLDED_CHANNEL = "huajuan_folded"
STOPPED = "stopped"
_TELL = b"SELECT pg_notify(%b, %b)"
_logger = structlog.get_logger(__name__)


def words(news: Iterable[tuple[str, int | str]]) -> str:
    """A line a projection: its schema, and its position or that it is stopped."""
    return "\n".join(f"{schema} {position}" for schema, position in news)


class Teller:
    """One a process. Only the newest is told, and never inside a fold's transaction: notifications are committed
    one after the other by all of Postgres, so that folding would wait for the disk with every append.

    What is not told is seen by those who look every `poll_seconds`.
    """

    def __init__(self, dsn: str, limits: ProjectionLimits) -> None:
        self.backend = 0
        self._dsn = dsn
        self._limits = limits
        self._news: dict[str, int | str] = {}
        self._is_news = asyncio.Event()

    def tell(self, schemas: Iterable[str], position: int | str) -> None:
        self._news |= dict.fromkeys(schemas, position)
        self._is_news.set()

    async def run(self) -> None:
        """For ever."""
        await stay_connected(self._connect, self._tell_for_ever, self._limits, "positions are not told")

    async def _connect(self) -> psycopg.AsyncConnection:
        return await connect(self._dsn, self._limits.connect_seconds_max, "SET synchronous_commit = off")

    async def _tell_for_ever(self, connection: psycopg.AsyncConnection) -> None:
        self.backend = connection.info.backend_pid
        while True:
            await self._is_news.wait()
            self._is_news.clear()
            news, self._news = self._news, {}
            await connection.execute(_TELL, (FOLDED_CHANNEL, words(news.items())), prepare=True)
