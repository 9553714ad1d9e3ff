"""What the read tables know of a person: what is to be withdrawn when they are erased."""

from uuid import UUID

import msgspec

from huajuan.projections.favorites import FAVORITES
from huajuan.projections.history import HISTORY
from huajuan.projections.likes import LIKES
from huajuan.projections.questions import ReadTables


class Left(msgspec.Struct, frozen=True):
    """Deleted pictures too; `unfinished` counts those being drawn."""

    images: list[UUID]
    likes: list[UUID]
    favorites: list[UUID]
    unfinished: int


_OF_ACCOUNT = "account_id = %(account)s AND (id IS NULL OR picture IS NOT NULL)"
_LEFT = f"""
SELECT ARRAY(SELECT image_id FROM {HISTORY.schema}.history
              WHERE {_OF_ACCOUNT} AND id IS NOT NULL LIMIT %(most)s),
       ARRAY(SELECT like_id FROM {LIKES.schema}.likes WHERE account_id = %(account)s LIMIT %(most)s),
       ARRAY(SELECT favorite_id FROM {FAVORITES.schema}.favorites
              WHERE account_id = %(account)s LIMIT %(most)s),
       (SELECT count(*) FROM {HISTORY.schema}.history WHERE {_OF_ACCOUNT} AND id IS NULL)
"""


async def left_by(tables: ReadTables, account_id: UUID, most: int) -> Left:
    """At most `most` of each kind."""
    (left,) = await tables.all(Left, _LEFT, {"account": account_id, "most": most})
    return left
