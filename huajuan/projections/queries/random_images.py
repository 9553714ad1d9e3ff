"""The square: some pictures by chance, and whether one likes them."""

from uuid import UUID

from huajuan.projections.history import HISTORY, IMAGE_COLUMNS, DrawnImage
from huajuan.projections.likes import LIKES
from huajuan.projections.queries.read_tables import ReadTables
from huajuan.projections.users import USERS


class SquareImage(DrawnImage, frozen=True):
    """An image, and whether the one who asks likes it."""

    isliked: bool


def _shown(comparison: str) -> str:
    return f"""(SELECT i.image_id, i.id, i.account_id, i.likecount, i.picture, i.create_time, i.prompt, i.width,
                     i.height, i.steps, i.sampling_method, i.seed, i.generation_id
                FROM {HISTORY.schema}.history i
               WHERE i.id IS NOT NULL AND NOT i.hidden AND i.image_id {comparison} %(start)s
               ORDER BY i.image_id LIMIT %(most)s)"""


# Image ids are random, so the images that follow a random id are random ones; at the end one goes on
# at the beginning. However many images there are, only those shown are read.
_SQUARE = f"""
SELECT {IMAGE_COLUMNS}, l.like_id IS NOT NULL
  FROM ({_shown(">=")} UNION ALL {_shown("<")}) h
  JOIN {USERS.schema}.users u ON u.account_id = h.account_id AND u.username IS NOT NULL
  LEFT JOIN {LIKES.schema}.likes l ON l.image_id = h.image_id AND l.account_id = %(account)s
 LIMIT %(most)s
"""


async def square(tables: ReadTables, account_id: UUID, start: UUID, most: int) -> list[SquareImage]:
    """The images that follow a random id `start`."""
    return await tables.all(SquareImage, _SQUARE, {"account": account_id, "start": start, "most": most})
