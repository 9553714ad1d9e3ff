"""The read table `point_history`: one row for each change of a balance, with its cause."""

from datetime import datetime
from typing import Any, Literal, get_args
from uuid import UUID

import msgspec

from huajuan.domain.account import Account
from huajuan.projections.engine.projection import Fold, Handler, Projection, of_position
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


def entry(sign: int, reason: str | None = None) -> Fold:
    """The fold of an event that adds its points to the balance, or subtracts them."""

    def fold(_: None, event: Any, position: int) -> EntryRow:
        image_id = getattr(event, "image_id", None)
        return _row(event, position, sign * event.points, event.balance, reason, image_id)

    return fold


def returned(_: None, event: Account.PointsReturned, position: int) -> EntryRow:
    return _row(event, position, event.points, event.balance, event.reason, event.image_id)


def erased(_: None, event: Account.Erased, position: int) -> EntryRow | None:
    """Held points were subtracted from the balance before."""
    return _row(event, position, -event.available, 0, FORFEITED) if event.available else None


def _row(
    event: Any, position: int, change: int, balance: int, reason: str | None, image_id: UUID | None = None
) -> EntryRow:
    return EntryRow(
        position, event.originator_id, event.timestamp, change, balance, reason, image_id, event.actor
    )


POINT_HISTORY = Projection(
    "point_history",
    version=2,
    table=Table("point_history", EntryRow, "id", indexes=["(account_id, id)"]),
    handlers={
        Account.CheckedIn: Handler(of_position, entry(1, CHECK_IN)),
        Account.PointsGranted: Handler(of_position, entry(1)),
        Account.PointsHeld: Handler(of_position, entry(-1, HOLD)),
        Account.PointsReturned: Handler(of_position, returned),
        Account.PointsDeducted: Handler(of_position, entry(-1)),
        Account.Erased: Handler(of_position, erased),
    },
)
