"""The read table `point_history`: one row for each change of a balance, with its cause."""

from datetime import datetime
from typing import Literal, get_args
from uuid import UUID

import msgspec

from huajuan.domain.account import Account
from huajuan.projections.engine.projection import Handler, Projection, of_position
from huajuan.projections.engine.table import Table

Cause = Literal["check_in", "held", "forfeited"]
CHECK_IN, HOLD, FORFEITED = get_args(Cause)


class EntryRow(msgspec.Struct):
    """`change` was added to the available points, which then were `balance`.

    `reason` is `check_in`, `held`, `forfeited`, or the reason of a return. It is `None` for grants and
    deductions: their free text may contain personal data, so it is stored only in the log, encrypted.
    """

    id: int
    account_id: UUID
    time: datetime
    change: int
    balance: int
    reason: str | None
    image_id: UUID | None
    actor: UUID | None


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
    """Held points were subtracted from the balance before."""
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
    handlers={
        Account.CheckedIn: Handler(of_position, checked_in),
        Account.PointsGranted: Handler(of_position, granted),
        Account.PointsHeld: Handler(of_position, held),
        Account.PointsReturned: Handler(of_position, returned),
        Account.PointsDeducted: Handler(of_position, deducted),
        Account.Erased: Handler(of_position, erased),
    },
)
