"""Queries for images that are visible: drawn, not deleted, and of an account that is not erased."""

from datetime import datetime
from uuid import UUID

import msgspec

from huajuan.projections.engine.table import ReadTables
from huajuan.projections.favorites import FAVORITES
from huajuan.projections.history import HISTORY
from huajuan.projections.likes import LIKES
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
