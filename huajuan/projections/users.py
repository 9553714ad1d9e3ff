"""The table of users: who there is, by account, and what anyone may know of them."""

from datetime import datetime
from uuid import UUID

import msgspec

from huajuan.domain.account import Account
from huajuan.projections.engine.projection import Projection, Touch, of_stream
from huajuan.projections.engine.table import Table
from huajuan.projections.pending_accounts import PENDING_ACCOUNTS
from huajuan.projections.point_balances import POINT_BALANCES
from huajuan.projections.queries.read_tables import ReadTables


class UserRow(msgspec.Struct):
    """`id` is the position of the registration in the log."""

    account_id: UUID
    id: int
    username: str | None
    email: str | None
    avatar_url: str
    create_time: datetime


class User(msgspec.Struct, frozen=True):
    """A user as they see themselves, points included."""

    id: int
    email: str
    username: str
    avatar_url: str
    score: int
    create_time: datetime


class KnownUser(msgspec.Struct, frozen=True):
    """What anyone may know of a user."""

    id: int
    username: str
    avatar_url: str
    create_time: datetime


class PendingUser(msgspec.Struct, frozen=True):
    """A user who waits for an admin's approval, as the admins see them."""

    id: int
    username: str
    email: str
    create_time: datetime


def registered(_: UserRow | None, event: Account.Registered, position: int) -> UserRow:
    return UserRow(event.originator_id, position, event.username, event.email, "", event.timestamp)


def email_changed(row: UserRow, event: Account.EmailChanged, _: int) -> UserRow:
    row.email = event.email
    return row


def avatar_changed(row: UserRow, event: Account.AvatarChanged, _: int) -> UserRow:
    row.avatar_url = event.url or ""
    return row


def erased(row: UserRow, _: Account.Erased, __: int) -> UserRow:
    row.username = row.email = None
    row.avatar_url = ""
    return row


USERS = Projection(
    "users",
    version=1,
    table=Table("users", UserRow, "account_id", indexes=["UNIQUE (username)", "UNIQUE (id)"]),
    touches={
        Account.Registered: Touch(of_stream, registered),
        Account.EmailChanged: Touch(of_stream, email_changed),
        Account.AvatarChanged: Touch(of_stream, avatar_changed),
        Account.Erased: Touch(of_stream, erased),
    },
)

_USER = f"""
SELECT u.id, u.email, u.username, u.avatar_url, coalesce(b.available, 0), u.create_time
  FROM {USERS.schema}.users u LEFT JOIN {POINT_BALANCES.schema}.point_balances b USING (account_id)
 WHERE u.account_id = %(account)s
"""


async def user(tables: ReadTables, account_id: UUID) -> User | None:
    return await tables.one(User, _USER, {"account": account_id})


_USERS = f"""
SELECT u.id, u.username, u.avatar_url, u.create_time FROM {USERS.schema}.users u
 WHERE u.id > %(after)s AND u.username IS NOT NULL
   AND NOT EXISTS (SELECT FROM {PENDING_ACCOUNTS.schema}.pending_accounts p WHERE p.account_id = u.account_id)
 ORDER BY u.id LIMIT %(most)s
"""


async def users(tables: ReadTables, most: int, after: int) -> list[KnownUser]:
    """All users but those who wait for approval, by id, after one."""
    return await tables.all(KnownUser, _USERS, {"most": most, "after": after})


_PENDING_USERS = f"""
SELECT u.id, u.username, u.email, u.create_time
  FROM {USERS.schema}.users u JOIN {PENDING_ACCOUNTS.schema}.pending_accounts p USING (account_id)
 WHERE u.id > %(after)s AND u.username IS NOT NULL ORDER BY u.id LIMIT %(most)s
"""


async def pending_users(tables: ReadTables, most: int, after: int) -> list[PendingUser]:
    """Those who wait for approval, by id, after one."""
    return await tables.all(PendingUser, _PENDING_USERS, {"most": most, "after": after})
