"""What happened, day by day."""

import re
from datetime import date
from typing import Annotated, Any

import msgspec
from litestar import Request, get

from huajuan.http import messages
from huajuan.http.openapi.operations import BUSY, NO_TOKEN, Explained, Said, asks, replies
from huajuan.http.query_params import query_of, unfit
from huajuan.http.routes.admin.projections import FORBIDDEN
from huajuan.http.services import AtDesk
from huajuan.projections.daily_statistics import DayRow, days

_DATE = re.compile(r"\d{4}-\d\d-\d\d")
Day = Annotated[str, msgspec.Meta(extra_json_schema={"extra": {"format": "date"}})]


class DayOnWire(msgspec.Struct):
    """A day of UTC; points issued, held and spent are those that were so on that day."""

    day: Day
    users: int
    check_ins: int
    pictures: int
    issued: int
    held: int
    spent: int


class StatisticsReply(Said, kw_only=True):
    """The days on which anything happened, oldest first."""

    days: list[DayOnWire]


EXAMPLE_DAY = {
    "day": "2026-11-24", "users": 3, "check_ins": 5, "pictures": 7, "issued": 500, "held": 160, "spent": 140,
}  # fmt: skip


@get(
    "/admin/statistics",
    tags=["Admin"],
    operation_id="Statistics",
    operation_class=asks(**{"from": "the first day, of UTC", "to": "the last day, included"}),
    responses=replies(
        {
            200: (StatisticsReply, [{"message": messages.WELL, "days": [EXAMPLE_DAY]}]),
            400: (Explained, [{"message": messages.QUERY_UNFIT, "error": name} for name in ("from", "to")]),
            401: (Said, NO_TOKEN),
            403: (Said, FORBIDDEN),
            503: (Said, BUSY),
        }
    ),
)
async def statistics(request: Request[Any, Any, Any], desk: AtDesk) -> StatisticsReply:
    """New users, check-ins, pictures and points of each day of UTC."""
    given = query_of(request)
    first, last = _day(given, "from", date.min), _day(given, "to", date.max)
    found = await days(desk.tables, first, last, desk.settings.list_rows_max)
    return StatisticsReply(code=200, message=messages.WELL, days=[_on_wire(row) for row in found])


def _on_wire(row: DayRow) -> DayOnWire:
    return DayOnWire(**msgspec.structs.asdict(row) | {"day": row.day.isoformat()})


def _day(given: dict[str, str], name: str, otherwise: date) -> date:
    text = given.get(name)
    if text is None:
        return otherwise
    try:
        if not _DATE.fullmatch(text):
            raise unfit(name)
        return date.fromisoformat(text)
    except ValueError:
        raise unfit(name) from None
