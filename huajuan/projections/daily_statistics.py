"""The table of daily statistics: what happened on each day of UTC, as the events' own moments have it."""

from collections.abc import Callable
from datetime import UTC, date
from typing import Any

import msgspec

from huajuan.domain.account import Account
from huajuan.domain.image import Image
from huajuan.projections.engine.projection import Projection, Touch
from huajuan.projections.engine.table import Table
from huajuan.projections.queries.read_tables import ReadTables

# Older logs may hold grants whose sum is more than the table has room for.
INTEGER_MAX = 2**63 - 1


class DayRow(msgspec.Struct):
    """`issued`, `held` and `spent` are the points that were granted, put on hold and settled on that day."""

    day: date
    users: int = 0
    check_ins: int = 0
    pictures: int = 0
    issued: int = 0
    held: int = 0
    spent: int = 0


def of_day(event: Any, _: int) -> date:
    """The day of UTC, which every installation has, whatever its zone is set to later."""
    day: date = event.timestamp.astimezone(UTC).date()
    return day


def counted(column: str) -> Callable[[DayRow | None, Any, int], DayRow]:
    def fold(row: DayRow | None, event: Any, _: int) -> DayRow:
        row = row or DayRow(of_day(event, 0))
        setattr(row, column, getattr(row, column) + 1)
        return row

    return fold


def points(column: str) -> Callable[[DayRow | None, Any, int], DayRow]:
    def fold(row: DayRow | None, event: Any, _: int) -> DayRow:
        row = row or DayRow(of_day(event, 0))
        setattr(row, column, min(getattr(row, column) + event.points, INTEGER_MAX))
        return row

    return fold


def checked_in(row: DayRow | None, event: Account.CheckedIn, _: int) -> DayRow:
    row = row or DayRow(of_day(event, 0))
    row.check_ins += 1
    row.issued = min(row.issued + event.points, INTEGER_MAX)
    return row


DAILY_STATISTICS = Projection(
    "daily_statistics",
    version=1,
    table=Table("daily_statistics", DayRow, "day"),
    touches={
        Account.Registered: Touch(of_day, counted("users")),
        Account.CheckedIn: Touch(of_day, checked_in),
        Account.PointsGranted: Touch(of_day, points("issued")),
        Account.PointsHeld: Touch(of_day, points("held")),
        Account.PointsSettled: Touch(of_day, points("spent")),
        Image.Drawn: Touch(of_day, counted("pictures")),
    },
)

_DAYS = f"""
SELECT d.day, d.users, d.check_ins, d.pictures, d.issued, d.held, d.spent
  FROM {DAILY_STATISTICS.schema}.daily_statistics d
 WHERE d.day >= %(first)s AND d.day <= %(last)s ORDER BY d.day LIMIT %(most)s
"""


async def days(tables: ReadTables, first: date, last: date, most: int) -> list[DayRow]:
    """The days from `first` to `last`, both included, on which anything happened."""
    return await tables.all(DayRow, _DAYS, {"first": first, "last": last, "most": most})
