"""The list of an account's point changes, and the periodic check that no granted point is unaccounted for."""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec
import psycopg
import structlog
from msgspec.structs import replace

from huajuan.event_store.errors import DatabaseFailure
from huajuan.event_store.log_reader import StreamReader
from huajuan.projections.engine.table import ReadTables
from huajuan.projections.generations import CANCELLED, FAILED, GENERATIONS, QUEUED, RUNNING, SUCCEEDED
from huajuan.projections.history import HISTORY
from huajuan.projections.point_balances import unaccounted_points
from huajuan.projections.point_history import POINT_HISTORY
from huajuan.projections.users import USERS

# The command that finds the account and the event.
REMEDY = "huajuan replay --all"
_logger = structlog.get_logger(__name__)
HoldStatus = Literal["held", "settled", "returned"]
HOLD_STATUSES: Mapping[str, HoldStatus] = {
    QUEUED: "held",
    RUNNING: "held",
    SUCCEEDED: "settled",
    FAILED: "returned",
    CANCELLED: "returned",
}
_CHANGES = f"""
SELECT p.id, p.time, p.change, p.balance, p.reason, h.id, CASE WHEN NOT h.hidden THEN h.picture END,
       u.username, g.status, g.id
  FROM {POINT_HISTORY.schema}.point_history p
  LEFT JOIN {HISTORY.schema}.history h ON h.image_id = p.image_id
  LEFT JOIN {GENERATIONS.schema}.generations g ON g.image_id = p.image_id
  LEFT JOIN {USERS.schema}.users u ON u.account_id = p.actor AND p.actor <> p.account_id
 WHERE p.account_id = %(account)s AND p.id < %(before)s ORDER BY p.id DESC LIMIT %(most)s
"""


class PointChange(msgspec.Struct, frozen=True):
    """`reason` is `None` where it is no longer readable.

    `image_id` is the image's id on the wire if it was drawn, `picture` its storage key if it is visible.
    `actor` is the username of the account that made the change, if it is another one. `generation_id` is the
    id of the image's job, and `generation` the current status of that job.
    """

    id: int
    time: datetime
    change: int
    balance: int
    reason: str | None
    image_id: int | None
    picture: str | None
    actor: str | None
    generation: str | None
    generation_id: int | None

    @property
    def status(self) -> HoldStatus | None:
        """The current state of an image's hold; `None` for a change without an image."""
        return HOLD_STATUSES.get(self.generation or "")


async def point_changes_of(
    tables: ReadTables, log: StreamReader, account_id: UUID, before: int, most: int
) -> list[PointChange]:
    """The changes with smaller ids than `before`, newest first. Reasons of admins are read from the log."""
    values = {"account": account_id, "before": before, "most": most}
    changes = await tables.all(PointChange, _CHANGES, values)
    missing = [change.id for change in changes if change.reason is None]
    reasons = {position: event.reason for position, event in await log.at(missing)} if missing else {}
    return [replace(change, reason=reasons.get(change.id, change.reason)) for change in changes]


class PointsAudit:
    """A difference is only reported. `unaccounted` is the result of the last check, `None` while the database
    is unavailable.
    """

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
