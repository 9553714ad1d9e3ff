"""The read table `users`: name, e-mail address and avatar of each account."""

from datetime import datetime
from uuid import UUID

import msgspec

from huajuan.domain.account import Account
from huajuan.projections.engine.projection import Handler, Projection, of_stream, set_columns
from huajuan.projections.engine.table import Table


class UserRow(msgspec.Struct):
    """`id` is the position of the registration. An erased user has no name and no e-mail address."""

    account_id: UUID
    id: int
    username: str | None
    email: str | None
    avatar_url: str
    create_time: datetime


def registered(_: UserRow | None, event: Account.Registered, position: int) -> UserRow:
    return UserRow(event.originator_id, position, event.username, event.email, "", event.timestamp)


def email_changed(row: UserRow, event: Account.EmailChanged, _: int) -> UserRow:
    row.email = event.email
    return row


def avatar_changed(row: UserRow, event: Account.AvatarChanged, _: int) -> UserRow:
    row.avatar_url = event.url or ""
    return row


USERS = Projection(
    "users",
    version=1,
    table=Table("users", UserRow, "account_id", indexes=["UNIQUE (username)", "UNIQUE (id)"]),
    handlers={
        Account.Registered: Handler(of_stream, registered),
        Account.EmailChanged: Handler(of_stream, email_changed),
        Account.AvatarChanged: Handler(of_stream, avatar_changed),
        Account.Erased: Handler(of_stream, set_columns(username=None, email=None, avatar_url="")),
    },
)
