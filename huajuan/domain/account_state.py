"""What a snapshot keeps of an account, and the snapshot."""

from datetime import date, datetime
from typing import Annotated, NotRequired, TypedDict
from uuid import UUID

from eventsourcing.domain import Snapshot
from eventsourcing.utils import register_topic

from huajuan.domain.aggregate import Personal


class AccountState(TypedDict):
    """An account's attributes as a snapshot keeps them."""

    _created_on: datetime
    _modified_on: datetime
    username: str | None
    email: str | None
    password_hash: str | None
    credential: int
    avatar_url: str | None
    balance: int
    held: dict[UUID, int]
    last_check_in: date | None
    is_banned: NotRequired[bool]
    promised_points: NotRequired[int | None]


class AccountSnapshot(Snapshot):
    """The account as it stood at a version, sealed whole."""

    TOPIC = "account.snapshot"
    subject = "originator_id"
    state: Annotated[AccountState, Personal] | None  # type: ignore[assignment]


register_topic(AccountSnapshot.TOPIC, AccountSnapshot)
