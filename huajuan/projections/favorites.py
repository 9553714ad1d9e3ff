"""The table of favorites: the pictures that a person keeps, under ids of their own."""

from datetime import datetime
from uuid import UUID

import msgspec

from huajuan.domain.favorite import Favorite
from huajuan.projections.engine.projection import Projection, Touch, of_stream
from huajuan.projections.engine.table import Table
from huajuan.projections.history import HISTORY, IMAGE_COLUMNS, DrawnImage
from huajuan.projections.queries.read_tables import ReadTables
from huajuan.projections.users import USERS


class FavoriteRow(msgspec.Struct):
    """A favorite that stands; `id` is the position at which it was added."""

    favorite_id: UUID
    id: int
    account_id: UUID
    image_id: UUID
    favorited_time: datetime


class FavoriteImage(DrawnImage, frozen=True):
    """An image among somebody's favorites; the favorite has an id of its own."""

    favorite_id: int
    favorited_time: datetime


def added(_: FavoriteRow | None, event: Favorite.Added | Favorite.AddedAgain, position: int) -> FavoriteRow:
    return FavoriteRow(event.originator_id, position, event.account_id, event.image_id, event.timestamp)


def removed(_: FavoriteRow, __: Favorite.Removed, ___: int) -> None:
    return None


FAVORITES = Projection(
    "favorites",
    version=1,
    table=Table(
        "favorites",
        FavoriteRow,
        "favorite_id",
        indexes=["UNIQUE (id)", "UNIQUE (account_id, image_id)", "(account_id, favorited_time, id)"],
    ),
    touches={
        Favorite.Added: Touch(of_stream, added),
        Favorite.AddedAgain: Touch(of_stream, added),
        Favorite.Removed: Touch(of_stream, removed),
    },
)

_FAVORITES_OF = f"""
SELECT {IMAGE_COLUMNS}, f.id, f.favorited_time
  FROM {FAVORITES.schema}.favorites f
  JOIN {HISTORY.schema}.history h USING (image_id)
  JOIN {USERS.schema}.users u ON u.account_id = h.account_id AND u.username IS NOT NULL
 WHERE f.account_id = %(account)s AND h.id IS NOT NULL AND NOT h.hidden
   AND (f.favorited_time, f.id) > (%(after_time)s, %(after_id)s)
 ORDER BY f.favorited_time, f.id LIMIT %(most)s
"""
_FAVORITE = f"""
SELECT f.favorite_id, f.id, f.account_id, f.image_id, f.favorited_time
  FROM {FAVORITES.schema}.favorites f WHERE f.account_id = %(account)s AND f.id = %(id)s
"""


async def favorites_of(
    tables: ReadTables, account_id: UUID, most: int, after: tuple[datetime, int]
) -> list[FavoriteImage]:
    """One's favorites, oldest first, after a moment and id."""
    values = {"account": account_id, "most": most, "after_time": after[0], "after_id": after[1]}
    return await tables.quickly(FavoriteImage, _FAVORITES_OF, values)


async def favorite(tables: ReadTables, account_id: UUID, favorite_id: int) -> FavoriteRow | None:
    """One of this account's favorites by its own id; somebody else's is none."""
    return await tables.one(FavoriteRow, _FAVORITE, {"account": account_id, "id": favorite_id})
