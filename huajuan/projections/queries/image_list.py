"""Lists of images: sorted, filtered, and paged by a cursor that names the last row seen."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

import msgspec

from huajuan.projections.history import IMAGE_COLUMNS, SHOWN, DrawnImage, fold_words
from huajuan.projections.queries.cursors import BadCursor, cursor_at, place_of
from huajuan.projections.queries.read_tables import ReadTables

Sort = Literal["time", "likes", "user", "width", "height", "steps", "sampling_method"]
_SORTED_BY = {
    "time": "h.create_time",
    "likes": "h.likecount",
    "user": 'u.username COLLATE "C"',
    "width": "h.width",
    "height": "h.height",
    "steps": "h.steps",
    "sampling_method": "h.sampling_method",
}
_CAST = {"time": "timestamptz", "user": "text", "sampling_method": "text"}
_FIELD = {"time": "create_time", "likes": "likecount", "user": "username"}


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which images, in which order, after which one. What is `None` does not filter."""

    account_id: UUID | None = None
    username: str | None = None
    prompt: str | None = None
    width: int | None = None
    height: int | None = None
    steps: int | None = None
    sampling_method: str | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None
    any_words: tuple[str, ...] = ()
    sort: Sort = "time"
    descending: bool = False
    after: str | None = None


class _Place(msgspec.Struct, array_like=True, frozen=True):
    """A row's place in an order."""

    sort: str
    descending: bool
    value: str | int
    time: datetime
    id: int


_CONDITIONS = {
    "account_id": "h.account_id = %(account_id)s",
    "username": "u.username = %(username)s",
    "width": "h.width = %(width)s",
    "height": "h.height = %(height)s",
    "steps": "h.steps = %(steps)s",
    "sampling_method": "h.sampling_method = %(sampling_method)s",
    "start_time": "h.create_time >= %(start_time)s",
    "end_time": "h.create_time <= %(end_time)s",
}
# The index finds what has all pairs of letters; that they stand in this order is then looked at.
_HOLDS = "(operations.grams(h.words) @> operations.grams(%({0})s) AND position(%({0})s IN h.words) > 0)"


async def list_images(tables: ReadTables, wanted: Wanted, most: int) -> list[DrawnImage]:
    """At most `most` images. Raises `BadCursor`."""
    query, values = statement(wanted, most)
    is_plain = (
        wanted.account_id is not None and wanted.sort == "time" and not (wanted.prompt or wanted.any_words)
    )
    return await (tables.quickly if is_plain else tables.all)(DrawnImage, query, values)


def statement(wanted: Wanted, most: int) -> tuple[str, dict[str, Any]]:
    """The one SELECT that answers, and its values."""
    values: dict[str, Any] = {n: v for n in _CONDITIONS if (v := getattr(wanted, n)) is not None}
    conditions = [_CONDITIONS[name] for name in values]
    if wanted.prompt is not None:
        conditions.append(_holds_any([wanted.prompt], "prompt", values))
    if wanted.any_words:
        conditions.append(_holds_any(wanted.any_words, "word", values))
    if wanted.after is not None:
        conditions.append(_after(wanted, values))
    filtered = "".join(f"\n   AND {condition}" for condition in conditions)
    order = ", ".join(f"{column}{' DESC' if wanted.descending else ''}" for column in _order(wanted.sort))
    query = f"SELECT {IMAGE_COLUMNS}\n  FROM {SHOWN}{filtered}\n ORDER BY {order} LIMIT %(most)s"
    return query, values | {"most": most}


def _holds_any(words: Iterable[str], name: str, values: dict[str, Any]) -> str:
    sought = {f"{name}{number}": fold_words(word) for number, word in enumerate(words)}
    values |= sought
    return f"({' OR '.join(map(_HOLDS.format, sought))})"


def cursor_behind(image: DrawnImage, wanted: Wanted) -> str:
    """Opaque: the place of this image in the order asked for."""
    value = getattr(image, _FIELD.get(wanted.sort, wanted.sort))
    shown = value.isoformat() if isinstance(value, datetime) else value
    place = _Place(wanted.sort, wanted.descending, shown, image.create_time.astimezone(UTC), image.id)
    return cursor_at(place)


def _order(sort: str) -> list[str]:
    """Ties by time, then id, so that every order is total."""
    columns = [_SORTED_BY[sort], "h.create_time", "h.id"]
    return columns[1:] if sort == "time" else columns


def _after(wanted: Wanted, values: dict[str, Any]) -> str:
    place = _read(wanted)
    values |= {"after_time": place.time, "after_id": place.id}
    columns, marks = _order(wanted.sort), ["%(after_time)s::timestamptz", "%(after_id)s::int8"]
    if wanted.sort != "time":
        values["after_value"] = place.value
        marks.insert(0, f"%(after_value)s::{_CAST.get(wanted.sort, 'int8')}")
    return f"({', '.join(columns)}) {'<' if wanted.descending else '>'} ({', '.join(marks)})"


def _read(wanted: Wanted) -> _Place:
    place = place_of(wanted.after or "", _Place)
    is_number = wanted.sort not in _CAST
    if (place.sort, place.descending) != (wanted.sort, wanted.descending) or is_number != isinstance(
        place.value, int
    ):
        raise BadCursor
    if not 0 <= place.id < 2**63 or "\0" in str(place.value) or place.time.tzinfo is None:
        raise BadCursor
    return place
