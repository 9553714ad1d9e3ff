"""Reads the bounds of a range of time, as a moment or as a whole day of the configured zone."""

import re
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)")
# A common word for "no end"; the day after it cannot be written.
LAST_DAY = "9999-12-31"
END_OF_TIME = datetime.max.replace(tzinfo=UTC)
_A_TICK = timedelta(microseconds=1)


class BadTime(Exception):
    """The text is no date and no moment."""


def start_of(text: str, zone: ZoneInfo) -> datetime:
    """Inclusive; a date begins at its midnight. Raises `BadTime`."""
    return _day(text, zone) if _DATE.fullmatch(text) else _moment(text)


def end_of(text: str, zone: ZoneInfo) -> datetime:
    """Inclusive; a date is the whole day. Raises `BadTime`."""
    if text == LAST_DAY:
        return END_OF_TIME
    return _day(text, zone, days_later=1) - _A_TICK if _DATE.fullmatch(text) else _moment(text)


def _moment(text: str) -> datetime:
    try:
        if not _MOMENT.fullmatch(text):
            raise BadTime
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadTime from None


def _day(text: str, zone: ZoneInfo, days_later: int = 0) -> datetime:
    try:
        day = datetime.fromisoformat(text).date() + timedelta(days=days_later)
        return datetime.combine(day, time(), zone).astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadTime from None
