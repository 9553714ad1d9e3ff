"""Finds gaps in streams: an event is stored, but the previous version of its stream is not."""

import asyncio
from collections.abc import Callable, Iterator
from uuid import UUID

import psycopg
import structlog

from huajuan.audit.hash_chain import Damage
from huajuan.postgres.statements import Statements
from huajuan.runtime.health import Problem

PAGE_EVENTS = 20_000
# A page of the background check takes some milliseconds; the pause limits the first check to a part of one
# core.
BACKGROUND_PAGE_EVENTS = 5_000
BACKGROUND_PAUSE_SECONDS = 0.05
FIRST_PAGE = (UUID(int=0), 0)
_HEAD = "SELECT coalesce(max(notification_id), 0) FROM log.huajuan_events"
# Reads in the order of the primary key, so that nothing is sorted or kept in memory.
_PAGE = """
WITH page AS MATERIALIZED (
    SELECT originator_id AS stream, originator_version AS version FROM log.huajuan_events
     WHERE (originator_id, originator_version) > (%(stream)s::uuid, %(version)s::bigint)
     ORDER BY originator_id, originator_version LIMIT %(limit)s),
followed AS (
    SELECT stream, version, coalesce(lag(version) OVER (PARTITION BY stream ORDER BY version),
           CASE WHEN stream = %(stream)s THEN %(version)s::bigint ELSE least(version, 1) - 1 END) AS before
      FROM page),
gap AS (
    SELECT e.notification_id AS position, f.stream::text AS broken, f.version AS found, f.before
      FROM followed f JOIN log.huajuan_events e
        ON e.originator_id = f.stream AND e.originator_version = f.version
     WHERE f.version > f.before + 1 ORDER BY 1 LIMIT 1)
SELECT last.stream, last.version, gap.position, gap.broken, gap.found, gap.before
  FROM (SELECT stream, version FROM page ORDER BY 1 DESC, 2 DESC LIMIT 1) last LEFT JOIN gap ON true
"""
# Of the next events after a position: the last one, and the first one whose previous version is missing.
_NEW = """
SELECT max(position), min(position) FILTER (WHERE is_gap)
  FROM (SELECT e.notification_id AS position,
               e.originator_version > 1 AND (
                   SELECT true FROM log.huajuan_events b WHERE b.originator_id = e.originator_id
                      AND b.originator_version = e.originator_version - 1) IS NULL AS is_gap
          FROM log.huajuan_events e WHERE e.notification_id > %(after)s
         ORDER BY e.notification_id LIMIT %(limit)s) page
"""
_logger = structlog.get_logger(__name__)


def find_first_gap(
    connection: psycopg.Connection, on_page: Callable[[], None] = lambda: None, page_events: int = PAGE_EVENTS
) -> Damage | None:
    """The gap of all streams whose next event has the lowest position. Calls `on_page` after each page."""
    lowest: Damage | None = None
    stream, version = FIRST_PAGE
    while True:
        values = {"stream": stream, "version": version, "limit": page_events}
        row = connection.execute(_PAGE.encode(), values, prepare=True, binary=True).fetchone()
        if row is None:
            return lowest
        stream, version, position, *gap = row
        if position is not None and (lowest is None or position < lowest.position):
            broken, found, before = gap
            text = f"stream {broken} goes on with version {found} after {before}: events between are missing"
            lowest = Damage(position, "gap", text)
        on_page()


class GapWatch:
    """The background check of one worker. `gap` is the lowest position after a gap that was found."""

    def __init__(self, statements: Statements) -> None:
        self.gap: int | None = None
        self._statements = statements
        self._checked_until: int | None = None

    async def check(self) -> None:
        """Checks the whole log at the first call, and new events at later calls."""
        ((head,),) = await self._statements.run(_HEAD)
        if self._checked_until is None:
            await self._check_all()
            self._checked_until = head
        self._checked_until = min(self._checked_until, head)  # a fail-over may have cut the log
        await self._check_new()

    def problems(self) -> Iterator[Problem]:
        if self.gap is not None:
            where = f"the stream of the event at position {self.gap}"
            detail = f"events are missing from {where}: run `huajuan verify`"
            yield Problem("stream_gap", detail, blocking=False)

    async def _check_all(self) -> None:
        stream, version = FIRST_PAGE
        values = {"stream": stream, "version": version, "limit": BACKGROUND_PAGE_EVENTS}
        while rows := await self._statements.run(_PAGE, values):
            values["stream"], values["version"], position, *_ = rows[0]
            self._record(position)
            await asyncio.sleep(BACKGROUND_PAUSE_SECONDS)

    async def _check_new(self) -> None:
        while True:
            values = {"after": self._checked_until, "limit": BACKGROUND_PAGE_EVENTS}
            ((last, gap),) = await self._statements.run(_NEW, values)
            if last is None:
                return
            self._checked_until = last
            self._record(gap)

    def _record(self, position: int | None) -> None:
        if position is not None and (self.gap is None or position < self.gap):
            self.gap = position
            _logger.error("stream has a gap", position=position, find_where_with="huajuan verify")
