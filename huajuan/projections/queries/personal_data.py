"""What the read tables know of a person: what is to be withdrawn when they are erased."""

from uuid import UUID

import msgspec
import psycopg

from huajuan.event_store.errors import LogUnavailable
from huajuan.postgres.connect import connect
from huajuan.projections.favorites import FAVORITES
from huajuan.projections.history import HISTORY
from huajuan.projections.likes import LIKES
from huajuan.projections.queries.read_tables import ReadTables
from huajuan.projections.users import USERS


class Left(msgspec.Struct, frozen=True):
    """Deleted pictures too; `unfinished` counts those being drawn."""

    images: list[UUID]
    likes: list[UUID]
    favorites: list[UUID]
    unfinished: int

    def __len__(self) -> int:
        """How much is to be withdrawn now."""
        return len(self.images) + len(self.likes) + len(self.favorites)


_WITH_PERSONS = ("operations.personal_keys", f"{USERS.schema}.users", f"{HISTORY.schema}.history")
_OF_ACCOUNT = "account_id = %(account)s AND (id IS NULL OR picture IS NOT NULL)"
_LEFT = f"""
SELECT ARRAY(SELECT image_id FROM {HISTORY.schema}.history
              WHERE {_OF_ACCOUNT} AND id IS NOT NULL LIMIT %(most)s),
       ARRAY(SELECT like_id FROM {LIKES.schema}.likes WHERE account_id = %(account)s LIMIT %(most)s),
       ARRAY(SELECT favorite_id FROM {FAVORITES.schema}.favorites
              WHERE account_id = %(account)s LIMIT %(most)s),
       (SELECT count(*) FROM {HISTORY.schema}.history WHERE {_OF_ACCOUNT} AND id IS NULL)
"""


async def forget_statistics(dsn: str, connect_seconds_max: float) -> None:
    """The planner's notes hold values that it met, and pages hold rows that were. Raises `LogUnavailable`.

    On a connection of its own, for it takes as long as it takes.
    """
    try:
        async with await connect(dsn, connect_seconds_max) as connection:
            for table in _WITH_PERSONS:
                await connection.execute(f"VACUUM (ANALYZE) {table}".encode())
    except psycopg.Error as error:
        raise LogUnavailable from error


async def left_by(tables: ReadTables, account_id: UUID, most: int) -> Left:
    """At most `most` of each kind."""
    (left,) = await tables.all(Left, _LEFT, {"account": account_id, "most": most})
    return left
