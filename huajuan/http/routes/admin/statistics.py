"""Statistics of each day."""

import re
from datetime import date
from typing import Annotated, Any

import msgspec
from litestar import Request

from huajuan.http import messages
from huajuan.http.openapi.operations import invalid_parameters, operation, query_params
from huajuan.http.openapi.responses import MessageResponse
from huajuan.http.request import query_of, read_parameter
from huajuan.projections.daily_statistics import DayRow, days
from huajuan.projections.engine.table import ReadTables
from huajuan.settings import Settings

_DATE = re.compile(r"\d{4}-\d\d-\d\d")
Day = Annotated[str, msgspec.Meta(extra_json_schema={"extra": {"format": "date"}})]


class DayOnWire(msgspec.Struct):
    """A day of UTC, and the points that were issued, held and spent on it."""

    day: Day
    users: int
    check_ins: int
    pictures: int
    issued: int
    held: int
    spent: int


class StatisticsResponse(MessageResponse, kw_only=True):
    """The days with events, oldest first."""

    days: list[DayOnWire]


EXAMPLE_DAY = {
    "day": "2026-11-24", "users": 3, "check_ins": 5, "pictures": 7, "issued": 500, "held": 160, "spent": 140,
}  # fmt: skip


@operation(
    "Admin",
    examples=[{"message": messages.SUCCEEDED, "days": [EXAMPLE_DAY]}],
    parameters=query_params(**{"from": "the first day, of UTC", "to": "the last day, included"}),
    raises=invalid_parameters("from", "to"),
)
async def statistics(
    request: Request[Any, Any, Any], tables: ReadTables, settings: Settings
) -> StatisticsResponse:
    """New users, check-ins, pictures and points of each day of UTC."""
    given = query_of(request)
    first, last = (read_parameter(given, name, _read_day) for name in ("from", "to"))
    found = await days(tables, first or date.min, last or date.max, settings.list_rows_max)
    return StatisticsResponse(code=200, message=messages.SUCCEEDED, days=[_on_wire(row) for row in found])


def _on_wire(row: DayRow) -> DayOnWire:
    return DayOnWire(**msgspec.structs.asdict(row) | {"day": row.day.isoformat()})


def _read_day(text: str) -> date:
    if not _DATE.fullmatch(text):
        raise ValueError(text)
    return date.fromisoformat(text)
