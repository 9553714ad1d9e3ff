"""The read table `daily_statistics`: counts of each UTC day, by the timestamps of the events."""

from datetime import UTC, date
from typing import Any

import msgspec

from huajuan.domain.account import Account
from huajuan.domain.image import Image
from huajuan.projections.engine.projection import Fold, Handler, Projection
from huajuan.projections.engine.table import ReadTables, Table

# Older logs may contain grants whose sum exceeds this; it is then the stored value.
INTEGER_MAX = 2**63 - 1


class DayRow(msgspec.Struct):
    """`issued`, `held` and `spent` are the points that were granted, held and settled on that day."""

    day: date
    users: int = 0
    check_ins: int = 0
    pictures: int = 0
    issued: int = 0
    held: int = 0
    spent: int = 0


def utc_day(event: Any, _: int) -> date:
    """The UTC day: the same everywhere, and after a change of the server's time zone."""
    day: date = event.timestamp.astimezone(UTC).date()
    return day


def count(column: str | None = None, points: str | None = None) -> Fold:
    """Adds 1 to `column`, and the event's points to `points`."""

    def fold(row: DayRow | None, event: Any, _: int) -> DayRow:
        row = row or DayRow(utc_day(event, 0))
        if column:
            setattr(row, column, getattr(row, column) + 1)
        if points:
            setattr(row, points, min(getattr(row, points) + event.points, INTEGER_MAX))
        return row

    return fold


DAILY_STATISTICS = Projection(
    "daily_statistics",
    version=1,
    table=Table("daily_statistics", DayRow, "day"),
    handlers={
        Account.Registered: Handler(utc_day, count("users")),
        Account.CheckedIn: Handler(utc_day, count("check_ins", points="issued")),
        Account.PointsGranted: Handler(utc_day, count(points="issued")),
        Account.PointsHeld: Handler(utc_day, count(points="held")),
        Account.PointsSettled: Handler(utc_day, count(points="spent")),
        Image.Drawn: Handler(utc_day, count("pictures")),
    },
)

_DAYS = f"""
SELECT {", ".join(f"d.{column}" for column in DAILY_STATISTICS.table.columns)}
  FROM {DAILY_STATISTICS.schema}.daily_statistics d
 WHERE d.day >= %(first)s AND d.day <= %(last)s ORDER BY d.day LIMIT %(most)s
"""


async def days(tables: ReadTables, first: date, last: date, most: int) -> list[DayRow]:
    """The days from `first` to `last` inclusive; days without events are missing."""
    return await tables.all(DayRow, _DAYS, {"first": first, "last": last, "most": most})
