"""The read table `favorites`: the current favorites of accounts, with ids of their own."""

from datetime import datetime
from uuid import UUID

import msgspec

from huajuan.domain.like_and_favorite import Favorite
from huajuan.projections.engine.projection import Handler, Projection, delete_row, of_stream
from huajuan.projections.engine.table import ReadTables, Table


class FavoriteRow(msgspec.Struct):
    """A favorite that was not removed; `id` is the position of its event."""

    favorite_id: UUID
    id: int
    account_id: UUID
    image_id: UUID
    favorited_time: datetime


def added(_: FavoriteRow | None, event: Favorite.Added | Favorite.AddedAgain, position: int) -> FavoriteRow:
    return FavoriteRow(event.originator_id, position, event.account_id, event.image_id, event.timestamp)


FAVORITES = Projection(
    "favorites",
    version=1,
    table=Table(
        "favorites",
        FavoriteRow,
        "favorite_id",
        indexes=["UNIQUE (id)", "UNIQUE (account_id, image_id)", "(account_id, favorited_time, id)"],
    ),
    handlers={
        Favorite.Added: Handler(of_stream, added),
        Favorite.AddedAgain: Handler(of_stream, added),
        Favorite.Removed: Handler(of_stream, delete_row),
    },
)

_FAVORITE = f"""
SELECT f.favorite_id, f.id, f.account_id, f.image_id, f.favorited_time
  FROM {FAVORITES.schema}.favorites f WHERE f.account_id = %(account)s AND f.id = %(id)s
"""


async def favorite(tables: ReadTables, account_id: UUID, favorite_id: int) -> FavoriteRow | None:
    """A favorite of this account by its id; `None` if it is another account's."""
    return await tables.one(FavoriteRow, _FAVORITE, {"account": account_id, "id": favorite_id})
