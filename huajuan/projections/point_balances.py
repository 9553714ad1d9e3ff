"""The read table `point_balances`: granted = available + held + spent + deducted + forfeited."""

from typing import Any
from uuid import UUID

import msgspec

from huajuan.domain.account import Account
from huajuan.projections.engine.projection import Fold, Handler, Projection, of_stream
from huajuan.projections.engine.table import ReadTables, Table

INTEGER_MAX = 2**63 - 1


class BalanceRow(msgspec.Struct):
    """Points of one account by their state."""

    account_id: UUID
    granted: int = 0
    available: int = 0
    held: int = 0
    spent: int = 0
    deducted: int = 0
    forfeited: int = 0


class AccountPoints(msgspec.Struct, frozen=True):
    """`score` are the available points, `held` those on hold for images being drawn."""

    score: int
    held: int


def registered(_: BalanceRow | None, event: Account.Registered, __: int) -> BalanceRow:
    return BalanceRow(event.originator_id)


def granted(row: BalanceRow, event: Account.PointsGranted | Account.CheckedIn, _: int) -> BalanceRow:
    row.granted += event.points
    row.available += event.points
    return row


def move(source: str, target: str) -> Fold:
    """The fold of an event that moves points from one column to another."""

    def fold(row: BalanceRow, event: Any, _: int) -> BalanceRow:
        setattr(row, source, getattr(row, source) - event.points)
        setattr(row, target, getattr(row, target) + event.points)
        return row

    return fold


def erased(row: BalanceRow, event: Account.Erased, _: int) -> BalanceRow:
    row.available -= event.available
    row.held -= event.held
    row.forfeited += event.available + event.held
    return row


POINT_BALANCES = Projection(
    "point_balances",
    version=1,
    table=Table("point_balances", BalanceRow, "account_id"),
    handlers={
        Account.Registered: Handler(of_stream, registered),
        Account.PointsGranted: Handler(of_stream, granted),
        Account.CheckedIn: Handler(of_stream, granted),
        Account.PointsHeld: Handler(of_stream, move("available", "held")),
        Account.PointsSettled: Handler(of_stream, move("held", "spent")),
        Account.PointsReturned: Handler(of_stream, move("held", "available")),
        Account.PointsDeducted: Handler(of_stream, move("available", "deducted")),
        Account.Erased: Handler(of_stream, erased),
    },
)

_POINTS = f"""
SELECT b.available, b.held FROM {POINT_BALANCES.schema}.point_balances b WHERE b.account_id = %(account)s
"""

# For each account by itself: sums over all accounts could cancel each other out.
_UNACCOUNTED = f"""
SELECT least(
         coalesce(sum(abs(
           b.granted::numeric - b.available - b.held - b.spent - b.deducted - b.forfeited)), 0),
         {INTEGER_MAX})::int8
  FROM {POINT_BALANCES.schema}.point_balances b
"""


async def points_of(tables: ReadTables, account_id: UUID) -> AccountPoints:
    return await tables.one(AccountPoints, _POINTS, {"account": account_id}) or AccountPoints(0, 0)


async def unaccounted_points(tables: ReadTables) -> int:
    """Points that break the equation above, in any account; there must be none.

    Reads every row, so it is not for frequent calls.
    """
    return (await tables.all(int, _UNACCOUNTED))[0]
