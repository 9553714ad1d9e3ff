"""Looks for gaps in streams in the background: once in the whole log, then in what is appended."""

import asyncio
from collections.abc import Iterator

import psycopg
import structlog

from huajuan.audit.gaps import FIRST_PAGE, NEW, PAGE
from huajuan.event_store.errors import LogError
from huajuan.observability.health import Problem
from huajuan.postgres.statements import Statements

# A page takes some milliseconds, and the pause keeps the first look from using more than a part of one core.
PAGE_EVENTS = 5_000
PAUSE_SECONDS = 0.05
_HEAD = "SELECT coalesce(max(notification_id), 0) FROM log.huajuan_events"
_logger = structlog.get_logger(__name__)


class GapWatch:
    """One per worker. `gap` is the position behind the first gap that was found."""

    def __init__(self, statements: Statements) -> None:
        self.gap: int | None = None
        self._statements = statements
        self._looked_until: int | None = None

    async def keep_looking(self, every_seconds: float) -> None:
        """For ever: at once, then on a timer."""
        while True:
            try:
                await self.look()
            except (LogError, psycopg.Error) as error:
                _logger.warning("gaps left for later", error=type(error).__name__)
            await asyncio.sleep(every_seconds)

    async def look(self) -> None:
        head = await self._head()
        if self._looked_until is None:
            await self._look_at_all()
            self._looked_until = head
        self._looked_until = min(self._looked_until, head)  # a fail-over may have cut the log
        await self._look_at_new()

    def problems(self) -> Iterator[Problem]:
        if self.gap is not None:
            detail = f"events are missing from the stream of the event at position {self.gap}: run `huajuan verify`"
            yield Problem("stream_gap", detail, blocking=False)

    async def _head(self) -> int:
        ((head,),) = await self._statements.run(_HEAD)
        return int(head)

    async def _look_at_all(self) -> None:
        stream, version = FIRST_PAGE
        values = {"stream": stream, "version": version, "most": PAGE_EVENTS}
        while rows := await self._statements.run(PAGE, values):
            values["stream"], values["version"], position, *_ = rows[0]
            self._found(position)
            await asyncio.sleep(PAUSE_SECONDS)

    async def _look_at_new(self) -> None:
        while True:
            values = {"after": self._looked_until, "most": PAGE_EVENTS}
            ((last, gap),) = await self._statements.run(NEW, values)
            if last is None:
                return
            self._looked_until = last
            self._found(gap)

    def _found(self, position: int | None) -> None:
        if position is not None and (self.gap is None or position < self.gap):
            self.gap = position
            _logger.error("stream has a gap", position=position, find_where_with="huajuan verify")
