"""Watches that every point granted is somewhere: what is not stops nothing, but is told until it is mended."""

import asyncio

import psycopg
import structlog

from huajuan.event_store.errors import LogError
from huajuan.projections.engine.metrics import unaccounted_points
from huajuan.projections.queries.read_tables import ReadTables

# Finds the account and the event.
REMEDY = "huajuan replay --all"
_logger = structlog.get_logger(__name__)


class PointsAudit:
    """`unaccounted` is what the last look found, `None` while the database cannot tell."""

    def __init__(self, tables: ReadTables) -> None:
        self._tables = tables
        self.unaccounted: int | None = None

    async def keep_looking(self, every_seconds: float) -> None:
        """For ever: at once, then on a timer; a breach is an error in the log at each look."""
        while True:
            await self.look()
            await asyncio.sleep(every_seconds)

    async def look(self) -> None:
        before, self.unaccounted = self.unaccounted, await self._found()
        if self.unaccounted:
            _logger.error("points are unbalanced", by=self.unaccounted, find_where_with=REMEDY)
        elif before and self.unaccounted == 0:
            _logger.info("points are balanced again")

    async def _found(self) -> int | None:
        try:
            return await unaccounted_points(self._tables)
        except (LogError, psycopg.Error) as error:
            _logger.warning("points left for later", error=type(error).__name__)
            return None
