"""Reads query parameters strictly: each once, each what it must be, and a bad one is named."""

from collections.abc import Callable
from typing import Any, TypeVar, get_args
from zoneinfo import ZoneInfo

from litestar import Request

from huajuan.domain.credentials import spell_name
from huajuan.http import messages
from huajuan.http.errors import Refusal
from huajuan.http.image_parameters import SAMPLING_METHODS
from huajuan.http.times import BadTime, end_of, start_of
from huajuan.projections.queries.image_list import Sort, Wanted

T = TypeVar("T")
WHOLE_NUMBER_MAX = 2**63 - 1
LIST_PARAMETERS = {
    "sort": "`time` (default), `likes`, `user`, `width`, `height`, `steps` or `sampling_method`",
    "order": "`asc` (default) or `desc`",
    "username": "only this user's",
    "prompt": "only those whose prompt holds this, in any case and width",
    "width": "only this width",
    "height": "only this height",
    "steps": "only these steps",
    "sampling_method": "only this method",
    "start_time": "a date, or a moment such as 2024-11-21T23:31:25Z; inclusive",
    "end_time": "the same; a date is the whole day",
    "limit": "how many at most",
    "after": (
        "where the `Link` of the page before leads. A cursor names the last row seen: what is sorted by time is "
        "listed once and only once; when likes change while one pages by likes, an image may move across the cursor "
        "and be seen twice or not at all"
    ),
}


def unfit(name: str) -> Refusal:
    return Refusal(400, message=messages.QUERY_UNFIT, error=name)


def query_of(
    request: Request[Any, Any, Any], refusal_of: Callable[[str], Exception] = unfit
) -> dict[str, str]:
    """Parameters that are given and not empty. Raises the refusal of one that is given twice or holds a NUL."""
    given: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name in given or "\0" in value:
            raise refusal_of(name)
        given[name] = value
    return {name: value for name, value in given.items() if value}


def wanted_of(given: dict[str, str], zone: ZoneInfo) -> Wanted:
    """What a list of images is asked for. Raises `Refusal` that names the first bad parameter."""
    order = _read(given, "order", _one_of("asc", "desc"))
    return Wanted(
        sort=_read(given, "sort", _one_of(*get_args(Sort))) or "time",  # type: ignore[arg-type]
        descending=order == "desc",
        username=_read(given, "username", spell_name),
        prompt=given.get("prompt"),
        width=_read(given, "width", whole_number),
        height=_read(given, "height", whole_number),
        steps=_read(given, "steps", whole_number),
        sampling_method=_read(given, "sampling_method", _one_of(*SAMPLING_METHODS)),
        start_time=_read(given, "start_time", lambda text: start_of(text, zone)),
        end_time=_read(given, "end_time", lambda text: end_of(text, zone)),
        after=given.get("after"),
    )


def limit_of(given: dict[str, str], most: int) -> int:
    """How many rows, `most` unless told. Raises `Refusal`."""
    limit = _read(given, "limit", whole_number)
    if limit is not None and not 1 <= limit <= most:
        raise unfit("limit")
    return limit or most


def whole_number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 19 and int(text) <= WHOLE_NUMBER_MAX):
        raise ValueError(text)
    return int(text)


def _one_of(*words: str) -> Callable[[str], str]:
    return lambda text: words[words.index(text)]


def _read(given: dict[str, str], name: str, read: Callable[[str], T]) -> T | None:
    try:
        return read(given[name]) if name in given else None
    except (ValueError, BadTime):
        raise unfit(name) from None
