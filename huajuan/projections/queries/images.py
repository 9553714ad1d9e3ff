"""Queries for images that are visible: drawn, not deleted, and of an account that is not erased.

Lists are sorted, filtered, and paged by a cursor (keyset pagination).
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

import msgspec

from huajuan.projections.engine.table import ReadTables
from huajuan.projections.favorites import FAVORITES
from huajuan.projections.history import HISTORY, fold_words
from huajuan.projections.likes import LIKES
from huajuan.projections.queries import InvalidCursor, decode_cursor, encode_cursor
from huajuan.projections.users import USERS

IMAGE_COLUMNS = """h.id, u.username, h.likecount, h.picture, h.create_time,
       h.prompt, h.width, h.height, h.steps, h.sampling_method, h.seed, h.generation_id"""
VISIBLE = f"""{HISTORY.schema}.history h JOIN {USERS.schema}.users u ON u.account_id = h.account_id
 WHERE h.id IS NOT NULL AND NOT h.hidden AND u.username IS NOT NULL"""
_BY_ID = f"SELECT {IMAGE_COLUMNS} FROM {VISIBLE} AND h.id = %(id)s"
_BY_PICTURE = f"SELECT {IMAGE_COLUMNS} FROM {VISIBLE} AND h.picture = %(picture)s"
_FIRST_OF_USER = f"""
SELECT {IMAGE_COLUMNS} FROM {VISIBLE} AND u.username = %(username)s ORDER BY h.create_time, h.id LIMIT 1
"""
_FAVORITES = f"""
SELECT {IMAGE_COLUMNS}, f.id, f.favorited_time
  FROM {FAVORITES.schema}.favorites f
  JOIN {HISTORY.schema}.history h USING (image_id)
  JOIN {USERS.schema}.users u ON u.account_id = h.account_id AND u.username IS NOT NULL
 WHERE f.account_id = %(account)s AND h.id IS NOT NULL AND NOT h.hidden
   AND (f.favorited_time, f.id) > (%(after_time)s, %(after_id)s)
 ORDER BY f.favorited_time, f.id LIMIT %(most)s
"""


def _following(comparison: str) -> str:
    return f"""(SELECT i.image_id, i.id, i.account_id, i.likecount, i.picture, i.create_time, i.prompt,
                     i.width, i.height, i.steps, i.sampling_method, i.seed, i.generation_id
                FROM {HISTORY.schema}.history i
               WHERE i.id IS NOT NULL AND NOT i.hidden AND i.image_id {comparison} %(start)s
               ORDER BY i.image_id LIMIT %(most)s)"""


# Image ids are random, so the images that follow a random id are a random sample. After the largest id the
# smallest follows. The query reads only the rows that it returns, whatever the size of the table.
_RANDOM = f"""
SELECT {IMAGE_COLUMNS}, l.like_id IS NOT NULL
  FROM ({_following(">=")} UNION ALL {_following("<")}) h
  JOIN {USERS.schema}.users u ON u.account_id = h.account_id AND u.username IS NOT NULL
  LEFT JOIN {LIKES.schema}.likes l ON l.image_id = h.image_id AND l.account_id = %(account)s
 LIMIT %(most)s
"""


class DrawnImage(msgspec.Struct, frozen=True):
    """A visible image; `picture` is its storage key."""

    id: int
    username: str
    likecount: int
    picture: str
    create_time: datetime
    prompt: str
    width: int
    height: int
    steps: int
    sampling_method: str
    seed: str
    generation_id: int


class FavoriteImage(DrawnImage, frozen=True):
    """An image among an account's favorites; the favorite has an id of its own."""

    favorite_id: int
    favorited_time: datetime


class RandomImage(DrawnImage, frozen=True):
    """An image, and whether the account of the query likes it."""

    isliked: bool


async def image_by_id(tables: ReadTables, image: int) -> DrawnImage | None:
    return await tables.one(DrawnImage, _BY_ID, {"id": image})


async def image_by_picture(tables: ReadTables, picture: str) -> DrawnImage | None:
    return await tables.one(DrawnImage, _BY_PICTURE, {"picture": picture})


async def first_image_of(tables: ReadTables, username: str) -> DrawnImage | None:
    return await tables.one(DrawnImage, _FIRST_OF_USER, {"username": username})


async def favorites_of(
    tables: ReadTables, account_id: UUID, most: int, after: tuple[datetime, int]
) -> list[FavoriteImage]:
    """The account's favorites after a time and id, oldest first."""
    values = {"account": account_id, "most": most, "after_time": after[0], "after_id": after[1]}
    return await tables.all_batched(FavoriteImage, _FAVORITES, values)


async def random_images(tables: ReadTables, account_id: UUID, start: UUID, most: int) -> list[RandomImage]:
    """The images that follow a random id `start`, at most `most`."""
    return await tables.all(RandomImage, _RANDOM, {"account": account_id, "start": start, "most": most})


Sort = Literal["time", "likes", "user", "width", "height", "steps", "sampling_method"]
_SORT_COLUMNS = {
    **{name: f"h.{name}" for name in ("width", "height", "steps", "sampling_method")},
    "time": "h.create_time",
    "likes": "h.likecount",
    "user": 'u.username COLLATE "C"',
}
_CASTS = {"time": "timestamptz", "user": "text", "sampling_method": "text"}
_FIELDS = {"time": "create_time", "likes": "likecount", "user": "username"}
_CONDITIONS = {
    **{n: f"h.{n} = %({n})s" for n in ("account_id", "width", "height", "steps", "sampling_method")},
    "username": "u.username = %(username)s",
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
