"""The list of images: sorted, filtered, and paged by a cursor (keyset pagination)."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

import msgspec

from huajuan.projections.engine.table import ReadTables
from huajuan.projections.history import fold_words
from huajuan.projections.queries.cursors import InvalidCursor, decode_cursor, encode_cursor
from huajuan.projections.queries.images import IMAGE_COLUMNS, VISIBLE, DrawnImage

Sort = Literal["time", "likes", "user", "width", "height", "steps", "sampling_method"]
_SORT_COLUMNS = {
    "time": "h.create_time",
    "likes": "h.likecount",
    "user": 'u.username COLLATE "C"',
    "width": "h.width",
    "height": "h.height",
    "steps": "h.steps",
    "sampling_method": "h.sampling_method",
}
_CASTS = {"time": "timestamptz", "user": "text", "sampling_method": "text"}
_FIELDS = {"time": "create_time", "likes": "likecount", "user": "username"}
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
# The GIN index finds rows that have all pairs of letters; `position` then checks that they are in this order.
_CONTAINS = "(operations.grams(h.words) @> operations.grams(%({0})s) AND position(%({0})s IN h.words) > 0)"


class ImageFilter(msgspec.Struct, frozen=True, kw_only=True):
    """A field that is `None` does not filter. `after` is a cursor."""

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


class _SortKey(msgspec.Struct, array_like=True, frozen=True):
    """The position of a row in an order."""

    sort: str
    descending: bool
    value: str | int
    time: datetime
    id: int


async def list_images(tables: ReadTables, wanted: ImageFilter, most: int) -> list[DrawnImage]:
    """At most `most` images. Raises `InvalidCursor`."""
    query, values = build_query(wanted, most)
    is_fast = (
        wanted.account_id is not None and wanted.sort == "time" and not (wanted.prompt or wanted.any_words)
    )
    return await (tables.all_batched if is_fast else tables.all)(DrawnImage, query, values)


def build_query(wanted: ImageFilter, most: int) -> tuple[str, dict[str, Any]]:
    """One SELECT, and its values."""
    values: dict[str, Any] = {n: v for n in _CONDITIONS if (v := getattr(wanted, n)) is not None}
    conditions = [_CONDITIONS[name] for name in values]
    if wanted.prompt is not None:
        conditions.append(_contains_any([wanted.prompt], "prompt", values))
    if wanted.any_words:
        conditions.append(_contains_any(wanted.any_words, "word", values))
    if wanted.after is not None:
        conditions.append(_is_after(wanted, values))
    filtered = "".join(f"\n   AND {condition}" for condition in conditions)
    order = ", ".join(f"{column}{' DESC' if wanted.descending else ''}" for column in _order(wanted.sort))
    query = f"SELECT {IMAGE_COLUMNS}\n  FROM {VISIBLE}{filtered}\n ORDER BY {order} LIMIT %(most)s"
    return query, values | {"most": most}


def _contains_any(words: Iterable[str], name: str, values: dict[str, Any]) -> str:
    searched = {f"{name}{number}": fold_words(word) for number, word in enumerate(words)}
    values |= searched
    return f"({' OR '.join(map(_CONTAINS.format, searched))})"


def cursor_after(image: DrawnImage, wanted: ImageFilter) -> str:
    """The cursor of the page after this image, for the same filter."""
    value = getattr(image, _FIELDS.get(wanted.sort, wanted.sort))
    text = value.isoformat() if isinstance(value, datetime) else value
    time = image.create_time.astimezone(UTC)
    return encode_cursor(_SortKey(wanted.sort, wanted.descending, text, time, image.id))


def _order(sort: str) -> list[str]:
    """Ties are sorted by time, then by id, so that every order is total."""
    columns = [_SORT_COLUMNS[sort], "h.create_time", "h.id"]
    return columns[1:] if sort == "time" else columns


def _is_after(wanted: ImageFilter, values: dict[str, Any]) -> str:
    key = _decode(wanted)
    values |= {"after_time": key.time, "after_id": key.id}
    columns, marks = _order(wanted.sort), ["%(after_time)s::timestamptz", "%(after_id)s::int8"]
    if wanted.sort != "time":
        values["after_value"] = key.value
        marks.insert(0, f"%(after_value)s::{_CASTS.get(wanted.sort, 'int8')}")
    return f"({', '.join(columns)}) {'<' if wanted.descending else '>'} ({', '.join(marks)})"


def _decode(wanted: ImageFilter) -> _SortKey:
    key = decode_cursor(wanted.after or "", _SortKey)
    is_number = wanted.sort not in _CASTS
    if (key.sort, key.descending) != (wanted.sort, wanted.descending):
        raise InvalidCursor
    if is_number != isinstance(key.value, int) or not 0 <= key.id < 2**63:
        raise InvalidCursor
    if "\0" in str(key.value) or key.time.tzinfo is None:
        raise InvalidCursor
    return key
