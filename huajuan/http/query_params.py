"""Reads query parameters strictly: each at most once and valid; an error names the invalid one."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from typing import Any, TypeVar, get_args
from zoneinfo import ZoneInfo

from litestar import Request

from huajuan.domain.credentials import normalize_username
from huajuan.http.errors import ErrorTable, invalid_parameter, mapped_errors
from huajuan.http.request_body import SAMPLING_METHODS
from huajuan.projections.queries import InvalidCursor, decode_cursor
from huajuan.projections.queries.images import ImageFilter, Sort

T = TypeVar("T")
WHOLE_NUMBER_MAX = 2**63 - 1
# Some clients send this date for "no end"; the day after it cannot be represented.
LAST_DAY = "9999-12-31"
END_OF_TIME = datetime.max.replace(tzinfo=UTC)
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)")
_RESOLUTION = timedelta(microseconds=1)
_CURSOR_ERRORS: ErrorTable = {InvalidCursor: invalid_parameter("after")}


class InvalidTime(Exception):
    """The text is neither a date nor a time."""


def query_of(
    request: Request[Any, Any, Any], error_of: Callable[[str], Exception] = invalid_parameter
) -> dict[str, str]:
    """All parameters that are not empty. Raises `error_of(name)` for a repeated one or one with a NUL."""
    given: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name in given or "\0" in value:
            raise error_of(name)
        given[name] = value
    return {name: value for name, value in given.items() if value}


def image_query(given: dict[str, str], zone: ZoneInfo) -> ImageFilter:
    """The order and the filters of a list of images. Raises `ApiError`."""
    order = read_parameter(given, "order", _one_of("asc", "desc"))
    return ImageFilter(
        sort=read_parameter(given, "sort", _one_of(*get_args(Sort))) or "time",  # type: ignore[arg-type]
        descending=order == "desc",
        username=read_parameter(given, "username", normalize_username),
        prompt=given.get("prompt"),
        width=read_parameter(given, "width", whole_number),
        height=read_parameter(given, "height", whole_number),
        steps=read_parameter(given, "steps", whole_number),
        sampling_method=read_parameter(given, "sampling_method", _one_of(*SAMPLING_METHODS)),
        start_time=read_parameter(given, "start_time", lambda text: start_of(text, zone)),
        end_time=read_parameter(given, "end_time", lambda text: end_of(text, zone)),
        after=given.get("after"),
    )


def limit_of(given: dict[str, str], most: int) -> int:
    """The number of rows of a page, `most` by default. Raises `ApiError`."""
    limit = read_parameter(given, "limit", whole_number)
    if limit is not None and not 1 <= limit <= most:
        raise invalid_parameter("limit")
    return limit or most


def after_id(given: dict[str, str]) -> int:
    """The id after which the page begins. Raises `ApiError`."""
    return read_parameter(given, "after", whole_number) or 0


def cursor_in(given: dict[str, str], kind: Any, default: T) -> T:
    """The cursor in `after`, as `kind`. Raises `ApiError`."""
    with mapped_errors(_CURSOR_ERRORS):
        cursor: T = decode_cursor(given["after"], kind) if "after" in given else default
        return cursor


def whole_number(text: str) -> int:
    """Raises `ValueError` for anything but decimal digits of a non-negative 64-bit integer."""
    if not (text.isascii() and text.isdigit() and len(text) <= 19 and int(text) <= WHOLE_NUMBER_MAX):
        raise ValueError(text)
    return int(text)


def read_parameter(given: dict[str, str], name: str, read: Callable[[str], T]) -> T | None:
    """`None` if the parameter is absent. Raises `ApiError` if `read` fails."""
    try:
        return read(given[name]) if name in given else None
    except (ValueError, InvalidTime):
        raise invalid_parameter(name) from None


def start_of(text: str, zone: ZoneInfo) -> datetime:
    """An inclusive lower bound; a date begins at its midnight in `zone`. Raises `InvalidTime`."""
    return _day(text, zone) if _DATE.fullmatch(text) else _time(text)


def end_of(text: str, zone: ZoneInfo) -> datetime:
    """An inclusive upper bound; a date is the whole day in `zone`. Raises `InvalidTime`."""
    if text == LAST_DAY:
        return END_OF_TIME
    return _day(text, zone, days_later=1) - _RESOLUTION if _DATE.fullmatch(text) else _time(text)


def _one_of(*words: str) -> Callable[[str], str]:
    return lambda text: words[words.index(text)]


def _time(text: str) -> datetime:
    try:
        if not _TIME.fullmatch(text):
            raise InvalidTime
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidTime from None


def _day(text: str, zone: ZoneInfo, days_later: int = 0) -> datetime:
    try:
        day = datetime.fromisoformat(text).date() + timedelta(days=days_later)
        return datetime.combine(day, time(), zone).astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidTime from None
