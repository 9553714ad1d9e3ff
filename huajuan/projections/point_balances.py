"""The table of point balances: granted = available + held + spent + deducted + forfeited, for everybody."""

from uuid import UUID

import msgspec

from huajuan.domain.account import Account
from huajuan.projections.engine.projection import Projection, Touch, of_stream
from huajuan.projections.engine.table import Table
from huajuan.projections.queries.read_tables import ReadTables


class BalanceRow(msgspec.Struct):
    """Points of one account, by what became of them."""

    account_id: UUID
    granted: int = 0
    available: int = 0
    held: int = 0
    spent: int = 0
    deducted: int = 0
    forfeited: int = 0


class Points(msgspec.Struct, frozen=True):
    """What somebody has, and what is held for pictures being drawn."""

    score: int
    held: int


def registered(_: BalanceRow | None, event: Account.Registered, __: int) -> BalanceRow:
    return BalanceRow(event.originator_id)


def granted(row: BalanceRow, event: Account.PointsGranted | Account.CheckedIn, _: int) -> BalanceRow:
    row.granted += event.points
    row.available += event.points
    return row


def held(row: BalanceRow, event: Account.PointsHeld, _: int) -> BalanceRow:
    row.available -= event.points
    row.held += event.points
    return row


def settled(row: BalanceRow, event: Account.PointsSettled, _: int) -> BalanceRow:
    row.held -= event.points
    row.spent += event.points
    return row


def returned(row: BalanceRow, event: Account.PointsReturned, _: int) -> BalanceRow:
    row.held -= event.points
    row.available += event.points
    return row


def deducted(row: BalanceRow, event: Account.PointsDeducted, _: int) -> BalanceRow:
    row.available -= event.points
    row.deducted += event.points
    return row


def erased(row: BalanceRow, event: Account.Erased, _: int) -> BalanceRow:
    row.available -= event.available
    row.held -= event.held
    row.forfeited += event.available + event.held
    return row


POINT_BALANCES = Projection(
    "point_balances",
    version=1,
    table=Table("point_balances", BalanceRow, "account_id"),
    touches={
        Account.Registered: Touch(of_stream, registered),
        Account.PointsGranted: Touch(of_stream, granted),
        Account.CheckedIn: Touch(of_stream, granted),
        Account.PointsHeld: Touch(of_stream, held),
        Account.PointsSettled: Touch(of_stream, settled),
        Account.PointsReturned: Touch(of_stream, returned),
        Account.PointsDeducted: Touch(of_stream, deducted),
        Account.Erased: Touch(of_stream, erased),
    },
)

_POINTS = f"""
SELECT b.available, b.held FROM {POINT_BALANCES.schema}.point_balances b WHERE b.account_id = %(account)s
"""


async def points_of(tables: ReadTables, account_id: UUID) -> Points:
    return await tables.one(Points, _POINTS, {"account": account_id}) or Points(0, 0)
