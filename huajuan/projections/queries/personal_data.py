"""The personal data of an account in the read tables: the rows to withdraw, and planner statistics."""

from uuid import UUID

import msgspec
import psycopg

from huajuan.event_store.errors import DatabaseUnavailable
from huajuan.postgres.connect import connect
from huajuan.projections.engine.table import ReadTables
from huajuan.projections.favorites import FAVORITES
from huajuan.projections.history import HISTORY
from huajuan.projections.likes import LIKES
from huajuan.projections.users import USERS

_PERSONAL_TABLES = ("operations.personal_keys", f"{USERS.schema}.users", f"{HISTORY.schema}.history")
_OF_ACCOUNT = "account_id = %(account)s AND (id IS NULL OR picture IS NOT NULL)"
_PERSONAL_DATA = f"""
SELECT ARRAY(SELECT image_id FROM {HISTORY.schema}.history
              WHERE {_OF_ACCOUNT} AND id IS NOT NULL LIMIT %(most)s),
       ARRAY(SELECT like_id FROM {LIKES.schema}.likes WHERE account_id = %(account)s LIMIT %(most)s),
       ARRAY(SELECT favorite_id FROM {FAVORITES.schema}.favorites
              WHERE account_id = %(account)s LIMIT %(most)s),
       (SELECT count(*) FROM {HISTORY.schema}.history WHERE {_OF_ACCOUNT} AND id IS NULL)
"""


class PersonalData(msgspec.Struct, frozen=True):
    """Stream ids; `images` contains deleted ones too. `unfinished` is the number of images being drawn."""

    images: list[UUID]
    likes: list[UUID]
    favorites: list[UUID]
    unfinished: int

    def __len__(self) -> int:
        """The number of streams to withdraw now."""
        return len(self.images) + len(self.likes) + len(self.favorites)


async def find_personal_data(tables: ReadTables, account_id: UUID, most: int) -> PersonalData:
    """At most `most` of each kind."""
    (found,) = await tables.all(PersonalData, _PERSONAL_DATA, {"account": account_id, "most": most})
    return found


async def vacuum_personal_data(dsn: str, connect_seconds_max: float) -> None:
    """Removes erased values from planner statistics, and dead rows from pages. Raises `DatabaseUnavailable`.

    On a connection of its own, without a time limit.
    """
    try:
        async with await connect(dsn, connect_seconds_max) as connection:
            for table in _PERSONAL_TABLES:
                await connection.execute(f"VACUUM (ANALYZE) {table}".encode())
    except psycopg.Error as error:
        raise DatabaseUnavailable from error
