"""Keeps the fact clock informed of what other processes append, by reading the end of the log."""

import asyncio
from contextlib import suppress
from datetime import datetime

import msgspec
import psycopg
import structlog
from psycopg_pool import PoolTimeout

from huajuan.event_store.fact_clock import FactClock
from huajuan.postgres.query_batching import SharedReads

# The newest fact need not be the last: clocks differ, and one of them may have jumped for a while.
HEAD_EVENTS = 100
LOOK_PAUSE_SECONDS = 0.1
_HEAD = b"SELECT state FROM log.huajuan_events ORDER BY notification_id DESC LIMIT %b"
_logger = structlog.get_logger(__name__)


class _Timed(msgspec.Struct):
    timestamp: datetime


_read = msgspec.json.Decoder(_Timed).decode


class LogHead:
    """`moved` is called when another process has appended; at most ten times a second the log is read for it."""

    def __init__(self, reads: SharedReads, facts: FactClock) -> None:
        self._reads = reads
        self._facts = facts
        self._moved = asyncio.Event()

    def moved(self) -> None:
        self._moved.set()

    async def learn(self) -> None:
        rows = await self._reads.run(_HEAD, (HEAD_EVENTS,))
        times = []
        for (state,) in rows:
            with suppress(msgspec.DecodeError, UnicodeDecodeError):  # a damaged row is for `verify` to name
                times.append(_read(state).timestamp)
        self._facts.know(times)

    async def run(self) -> None:
        """For ever."""
        while True:
            await self._moved.wait()
            self._moved.clear()
            try:
                await self.learn()
            except (psycopg.Error, PoolTimeout) as error:
                _logger.warning("head of the log not read", error=type(error).__name__)
            await asyncio.sleep(LOOK_PAUSE_SECONDS)
