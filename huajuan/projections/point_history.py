"""The table of point history: one line for each change of a balance, with its cause."""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal, get_args
from uuid import UUID

import msgspec
from msgspec.structs import replace

from huajuan.domain.account import Account
from huajuan.event_store.stream_reader import StreamReader
from huajuan.projections.engine.projection import Projection, Touch, of_position
from huajuan.projections.engine.table import Table
from huajuan.projections.generations import CANCELLED, FAILED, GENERATIONS, QUEUED, RUNNING, SUCCEEDED
from huajuan.projections.history import HISTORY
from huajuan.projections.queries.read_tables import ReadTables
from huajuan.projections.users import USERS

Cause = Literal["check_in", "held", "forfeited"]
CHECK_IN, HOLD, FORFEITED = get_args(Cause)
HoldStatus = Literal["held", "settled", "returned"]
HOLD_STATUSES: Mapping[str, HoldStatus] = {
    QUEUED: "held",
    RUNNING: "held",
    SUCCEEDED: "settled",
    FAILED: "returned",
    CANCELLED: "returned",
}


class EntryRow(msgspec.Struct):
    """`change` is what was added to the available points (negative: taken), `balance` what they came to.

    `reason` is `check_in`, `held`, `forfeited`, or why points were returned. The words of whoever granted or
    deducted some may name the person, so they are in the log alone, sealed, and here there is nothing.
    """

    id: int
    account_id: UUID
    time: datetime
    change: int
    balance: int
    reason: str | None
    image_id: UUID | None
    actor: UUID | None


class Change(msgspec.Struct, frozen=True):
    """One change as it is shown; its `reason` is nothing where it can be read by nobody.

    `image_id` is the image's id on the wire, if it was drawn, `picture` its storage key, if it is to be seen;
    `actor` the name of who made the change, if that was somebody else. `generation_id` is the id of the picture's
    job, and `generation` the state of that job now.
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
        """What became of the points of a picture; `None` for a change that concerns no picture."""
        return HOLD_STATUSES.get(self.generation or "")


def checked_in(_: None, event: Account.CheckedIn, position: int) -> EntryRow:
    return _entry(event, position, event.points, event.balance, CHECK_IN)


def granted(_: None, event: Account.PointsGranted, position: int) -> EntryRow:
    return _entry(event, position, event.points, event.balance, None)


def held(_: None, event: Account.PointsHeld, position: int) -> EntryRow:
    return _entry(event, position, -event.points, event.balance, HOLD, event.image_id)


def returned(_: None, event: Account.PointsReturned, position: int) -> EntryRow:
    return _entry(event, position, event.points, event.balance, event.reason, event.image_id)


def deducted(_: None, event: Account.PointsDeducted, position: int) -> EntryRow:
    return _entry(event, position, -event.points, event.balance, None)


def erased(_: None, event: Account.Erased, position: int) -> EntryRow | None:
    """What was held was taken from the balance before."""
    return _entry(event, position, -event.available, 0, FORFEITED) if event.available else None


def _entry(
    event: Account.Event,
    position: int,
    change: int,
    balance: int,
    reason: str | None,
    image_id: UUID | None = None,
) -> EntryRow:
    return EntryRow(
        position, event.originator_id, event.timestamp, change, balance, reason, image_id, event.actor
    )


POINT_HISTORY = Projection(
    "point_history",
    version=2,
    table=Table("point_history", EntryRow, "id", indexes=["(account_id, id)"]),
    touches={
        Account.CheckedIn: Touch(of_position, checked_in),
        Account.PointsGranted: Touch(of_position, granted),
        Account.PointsHeld: Touch(of_position, held),
        Account.PointsReturned: Touch(of_position, returned),
        Account.PointsDeducted: Touch(of_position, deducted),
        Account.Erased: Touch(of_position, erased),
    },
)

_CHANGES = f"""
SELECT p.id, p.time, p.change, p.balance, p.reason, h.id, CASE WHEN NOT h.hidden THEN h.picture END, u.username,
       g.status, g.id
  FROM {POINT_HISTORY.schema}.point_history p
  LEFT JOIN {HISTORY.schema}.history h ON h.image_id = p.image_id
  LEFT JOIN {GENERATIONS.schema}.generations g ON g.image_id = p.image_id
  LEFT JOIN {USERS.schema}.users u ON u.account_id = p.actor AND p.actor <> p.account_id
 WHERE p.account_id = %(account)s AND p.id < %(before)s ORDER BY p.id DESC LIMIT %(most)s
"""


async def changes_of(
    tables: ReadTables, log: StreamReader, account_id: UUID, before: int, most: int
) -> list[Change]:
    """Newest first, those before an id."""
    asked = {"account": account_id, "before": before, "most": most}
    changes = await tables.all(Change, _CHANGES, asked)
    unsaid = [change.id for change in changes if change.reason is None]
    said = {at: event.reason for at, event in await log.at(unsaid)} if unsaid else {}
    return [replace(change, reason=said.get(change.id, change.reason)) for change in changes]
