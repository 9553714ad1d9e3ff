"""Queries for users, with their points and their approval, and for the personal data of an account."""

from datetime import datetime
from uuid import UUID

import msgspec
import psycopg

from huajuan.domain.account import PersonalData
from huajuan.event_store.errors import DatabaseUnavailable
from huajuan.postgres.connect import connect
from huajuan.projections.engine.table import ReadTables
from huajuan.projections.favorites import FAVORITES
from huajuan.projections.history import HISTORY
from huajuan.projections.likes import LIKES
from huajuan.projections.pending_accounts import PENDING_ACCOUNTS
from huajuan.projections.point_balances import POINT_BALANCES
from huajuan.projections.users import USERS

_OWN_PROFILE = f"""
SELECT u.id, u.email, u.username, u.avatar_url, coalesce(b.available, 0), u.create_time
  FROM {USERS.schema}.users u LEFT JOIN {POINT_BALANCES.schema}.point_balances b USING (account_id)
 WHERE u.account_id = %(account)s
"""
_USERS = f"""
SELECT u.id, u.username, u.avatar_url, u.create_time FROM {USERS.schema}.users u
 WHERE u.id > %(after)s AND u.username IS NOT NULL
   AND NOT EXISTS (SELECT FROM {PENDING_ACCOUNTS.schema}.pending_accounts p WHERE p.account_id = u.account_id)
 ORDER BY u.id LIMIT %(most)s
"""
_PENDING_USERS = f"""
SELECT u.id, u.username, u.email, u.create_time
  FROM {USERS.schema}.users u JOIN {PENDING_ACCOUNTS.schema}.pending_accounts p USING (account_id)
 WHERE u.id > %(after)s AND u.username IS NOT NULL ORDER BY u.id LIMIT %(most)s
"""
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


class OwnProfile(msgspec.Struct, frozen=True):
    """A user as shown to themselves; `score` are the available points."""

    id: int
    email: str
    username: str
    avatar_url: str
    score: int
    create_time: datetime


class PublicProfile(msgspec.Struct, frozen=True):
    """A user as shown to other users."""

    id: int
    username: str
    avatar_url: str
    create_time: datetime


class PendingUser(msgspec.Struct, frozen=True):
    """A user who waits for approval, as shown to admins."""

    id: int
    username: str
    email: str
    create_time: datetime


async def own_profile(tables: ReadTables, account_id: UUID) -> OwnProfile | None:
    return await tables.one(OwnProfile, _OWN_PROFILE, {"account": account_id})


async def list_users(tables: ReadTables, most: int, after: int) -> list[PublicProfile]:
    """Approved users with larger ids than `after`, by id."""
    return await tables.all(PublicProfile, _USERS, {"most": most, "after": after})


async def list_pending_users(tables: ReadTables, most: int, after: int) -> list[PendingUser]:
    """Users who wait for approval, with larger ids than `after`, by id."""
    return await tables.all(PendingUser, _PENDING_USERS, {"most": most, "after": after})


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
