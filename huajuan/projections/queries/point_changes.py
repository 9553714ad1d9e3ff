"""The list of an account's point changes, with the images, actors and reasons that they refer to."""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec
from msgspec.structs import replace

from huajuan.event_store.log_reader import StreamReader
from huajuan.projections.engine.table import ReadTables
from huajuan.projections.generations import CANCELLED, FAILED, GENERATIONS, QUEUED, RUNNING, SUCCEEDED
from huajuan.projections.history import HISTORY
from huajuan.projections.point_history import POINT_HISTORY
from huajuan.projections.users import USERS

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
