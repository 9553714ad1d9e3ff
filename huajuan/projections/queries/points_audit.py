"""Checks periodically that every granted point is accounted for. A difference is only reported."""

import psycopg
import structlog

from huajuan.event_store.errors import DatabaseFailure
from huajuan.projections.engine.table import ReadTables
from huajuan.projections.point_balances import unaccounted_points

# The command that finds the account and the event.
REMEDY = "huajuan replay --all"
_logger = structlog.get_logger(__name__)


class PointsAudit:
    """`unaccounted` is the result of the last check, `None` while the database is unavailable."""

    def __init__(self, tables: ReadTables) -> None:
        self._tables = tables
        self.unaccounted: int | None = None

    async def check(self) -> None:
        """To be called periodically. Each check that finds a difference logs an error."""
        before, self.unaccounted = self.unaccounted, await self._count()
        if self.unaccounted:
            _logger.error("points are unbalanced", by=self.unaccounted, find_where_with=REMEDY)
        elif before and self.unaccounted == 0:
            _logger.info("points are balanced again")

    async def _count(self) -> int | None:
        try:
            return await unaccounted_points(self._tables)
        except (DatabaseFailure, psycopg.Error) as error:
            _logger.warning("points audit failed", error=type(error).__name__)
            return None
