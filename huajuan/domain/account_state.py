"""What a snapshot keeps of an account."""

from datetime import date, datetime
from typing import NotRequired, TypedDict
from uuid import UUID


class AccountState(TypedDict):
    """An account's attributes as a snapshot keeps them."""

    _created_on: datetime
    _modified_on: datetime
    username: str | None
    email: str | None
    password_hash: str | None
    credential: int
    avatar_url: str
    balance: int
    held: dict[UUID, int]
    last_check_in: date | None
    is_banned: NotRequired[bool]
