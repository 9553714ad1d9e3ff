"""The account aggregate: a person's name, credentials and points."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, NotRequired, Self, TypedDict
from uuid import UUID

from eventsourcing.domain import Snapshot, event
from eventsourcing.utils import register_topic

from huajuan.domain.aggregate import (
    AggregateRoot,
    CreatedEvent,
    Personal,
    PersonalText,
    ReasonedEvent,
    mark_unencrypted,
)
from huajuan.domain.refusals import (
    AlreadyBanned,
    AlreadyCheckedIn,
    NoPointsHeld,
    NotBanned,
    NotEnoughPoints,
    NotPending,
    NotRegistered,
)
from huajuan.domain.rules import CHECK_IN_REWARD, check_balance_max, check_balance_min, check_points


class AccountState(TypedDict):
    """The attributes of an account as a snapshot stores them."""

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
    """The state of an account at a version, encrypted as a whole."""

    TOPIC = "account.snapshot"
    subject = "originator_id"
    state: Annotated[AccountState, Personal] | None  # type: ignore[assignment]


register_topic(AccountSnapshot.TOPIC, AccountSnapshot)


class Account(AggregateRoot):
    """One person's account. Points are available (`balance`) or held for pictures in progress (`held`)."""

    TOPIC = "account"

    Snapshot = AccountSnapshot

    class Registered(CreatedEvent):
        TOPIC = "account.registered"
        username: PersonalText | None
        email: PersonalText | None
        password_hash: PersonalText | None

    class PasswordChanged(AggregateRoot.Event):
        TOPIC = "account.password_changed"
        password_hash: PersonalText | None

    class EmailChanged(AggregateRoot.Event):
        TOPIC = "account.email_changed"
        email: PersonalText | None

    class AvatarChanged(AggregateRoot.Event):
        """`url` is empty if the avatar was removed."""

        TOPIC = "account.avatar_changed"
        class_version = 2
        url: PersonalText | None

        upcast_v1_v2 = mark_unencrypted("url")

    class PointsGranted(ReasonedEvent):
        TOPIC = "account.points_granted"
        points: int
        balance: int

    class CheckedIn(AggregateRoot.Event):
        TOPIC = "account.checked_in"
        day: date
        points: int
        balance: int

    class CheckInReset(ReasonedEvent):
        """The account may check in again on any day."""

        TOPIC = "account.check_in_reset"

    class PointsHeld(AggregateRoot.Event):
        TOPIC = "account.points_held"
        image_id: UUID
        points: int
        balance: int

    class PointsSettled(AggregateRoot.Event):
        TOPIC = "account.points_settled"
        image_id: UUID
        points: int

    class PointsReturned(AggregateRoot.Event):
        TOPIC = "account.points_returned"
        image_id: UUID
        points: int
        balance: int
        reason: str

    class PointsDeducted(ReasonedEvent):
        TOPIC = "account.points_deducted"
        points: int
        balance: int

    class Banned(ReasonedEvent):
        TOPIC = "account.banned"

    class Unbanned(ReasonedEvent):
        TOPIC = "account.unbanned"

    class ApprovalRequested(AggregateRoot.Event):
        """The account cannot log in until an admin approves it; the approval grants `welcome_points`."""

        TOPIC = "account.approval_requested"
        welcome_points: int

    class Approved(ReasonedEvent):
        TOPIC = "account.approved"

    class Rejected(ReasonedEvent):
        TOPIC = "account.rejected"

    class Erased(AggregateRoot.Event):
        """All points are forfeited, and the person's encryption key is deleted in the same append."""

        TOPIC = "account.erased"
        available: int
        held: int

    # Not in any snapshot: without a key no snapshot can be encrypted.
    is_erased = False
    # Absent from snapshots written before bans existed.
    is_banned = False
    # Points that the approval grants; `None` if the account does not wait for approval.
    promised_points: int | None = None

    @event(Registered)
    def __init__(self, username: str | None, email: str | None, password_hash: str | None) -> None:
        self.username = username
        self.email = email
        self.password_hash = password_hash
        self.credential = 1
        self.avatar_url: str | None = ""
        self.balance = 0
        self.held: dict[UUID, int] = {}
        self.last_check_in: date | None = None

    @classmethod
    def register(cls, account_id: UUID, username: str, email: str, password_hash: str) -> Self:
        return cls._create(
            cls.Registered, id=account_id, username=username, email=email, password_hash=password_hash
        )

    def change_email(self, email: str) -> None:
        if email != self.email:
            self._change_email(email)

    def change_avatar(self, url: str) -> None:
        if url != self.avatar_url:
            self._change_avatar(url)

    def grant(self, points: int, reason: str) -> None:
        """Zero points append nothing. Raises `PointsInvalid` or `BalanceOutOfRange`."""
        if points:
            check_points(points)
            self._check_total(points)
            self._grant(points, self.balance + points, reason)

    def deduct(self, points: int, reason: str, *, forced: bool = False) -> None:
        """The balance may go below zero only if `forced`.

        Raises `PointsInvalid`, `NotEnoughPoints` or `BalanceOutOfRange`.
        """
        check_points(points)
        if self.balance < points and not forced:
            raise NotEnoughPoints
        check_balance_min(self.balance - points)
        self._deduct(points, self.balance - points, reason)

    def ban(self, reason: str) -> None:
        if self.is_banned:
            raise AlreadyBanned
        self._ban(reason)

    def unban(self, reason: str) -> None:
        if not self.is_banned:
            raise NotBanned
        self._unban(reason)

    @property
    def is_pending(self) -> bool:
        """Whether the account waits for an admin's approval."""
        return self.promised_points is not None

    def check_pending(self) -> int:
        """Return the promised welcome points. Raises `NotPending`."""
        if self.promised_points is None:
            raise NotPending
        return self.promised_points

    def approve(self, reason: str) -> None:
        points = self.check_pending()
        self._approve(reason)
        self.grant(points, "welcome")

    def reject(self, reason: str) -> None:
        """Erase the account together with the rejection. Raises `NotPending`."""
        self.check_pending()
        self._reject(reason)
        self.erase()

    def check_in(self, day: date, *, once_a_day: bool = True) -> None:
        if once_a_day and self.last_check_in is not None and day <= self.last_check_in:
            raise AlreadyCheckedIn(self.balance)
        self._check_total(CHECK_IN_REWARD)
        self._check_in(day, CHECK_IN_REWARD, self.balance + CHECK_IN_REWARD)

    def hold(self, image_id: UUID, points: int) -> None:
        if self.balance < points:
            raise NotEnoughPoints
        self._hold(image_id, points, self.balance - points)

    def settle(self, image_id: UUID) -> None:
        """Spend the points that are held for the image. Raises `NoPointsHeld`."""
        self._settle(image_id, self._held_for(image_id))

    def return_points(self, image_id: UUID, reason: str) -> None:
        """Release the hold of an image that was not drawn. Raises `NoPointsHeld`."""
        points = self._held_for(image_id)
        self._return_points(image_id, points, self.balance + points, reason)

    def erase(self) -> None:
        self._erase(self.balance, sum(self.held.values()))

    def _check_total(self, points: int) -> None:
        """Held points count too, because they may be returned."""
        check_balance_max(self.balance + sum(self.held.values()) + points)

    def _held_for(self, image_id: UUID) -> int:
        if image_id not in self.held:
            raise NoPointsHeld
        return self.held[image_id]

    @event(PasswordChanged)
    def change_password(self, password_hash: str | None) -> None:
        """Invalidates every token issued for an older `credential`."""
        self.password_hash = password_hash
        self.credential += 1

    @event(EmailChanged)
    def _change_email(self, email: str | None) -> None:
        self.email = email

    @event(AvatarChanged)
    def _change_avatar(self, url: str | None) -> None:
        self.avatar_url = url

    @event(PointsGranted)
    def _grant(self, points: int, balance: int, reason: str | None) -> None:
        self.balance += points

    @event(PointsDeducted)
    def _deduct(self, points: int, balance: int, reason: str | None) -> None:
        self.balance -= points

    @event(Banned)
    def _ban(self, reason: str | None) -> None:
        self.is_banned = True

    @event(Unbanned)
    def _unban(self, reason: str | None) -> None:
        self.is_banned = False

    @event(ApprovalRequested)
    def request_approval(self, welcome_points: int) -> None:
        self.promised_points = welcome_points

    @event(Approved)
    def _approve(self, reason: str | None) -> None:
        self.promised_points = None

    @event(Rejected)
    def _reject(self, reason: str | None) -> None:
        self.promised_points = None

    @event(CheckedIn)
    def _check_in(self, day: date, points: int, balance: int) -> None:
        self.balance += points
        self.last_check_in = day

    @event(CheckInReset)
    def reset_check_in(self, reason: str | None) -> None:
        self.last_check_in = None

    @event(PointsHeld)
    def _hold(self, image_id: UUID, points: int, balance: int) -> None:
        self.balance -= points
        self.held[image_id] = points

    @event(PointsSettled)
    def _settle(self, image_id: UUID, points: int) -> None:
        del self.held[image_id]

    @event(PointsReturned)
    def _return_points(self, image_id: UUID, points: int, balance: int, reason: str) -> None:
        self.balance += points
        del self.held[image_id]

    @event(Erased)
    def _erase(self, available: int, held: int) -> None:
        self.username = self.email = self.password_hash = None
        self.avatar_url = ""
        self.credential += 1
        self.balance = 0
        self.held = {}
        self.promised_points = None
        self.is_erased = True


@dataclass(frozen=True)
class PersonalData:
    """The ids of an account's other streams; `images` contains deleted ones too.

    `unfinished` is the number of images being drawn.
    """

    images: list[UUID]
    likes: list[UUID]
    favorites: list[UUID]
    unfinished: int

    def __len__(self) -> int:
        """The number of streams to withdraw now."""
        return len(self.images) + len(self.likes) + len(self.favorites)


def require_account(account: Account | None) -> Account:
    """Return the account unless it is missing or erased. Raises `NotRegistered`."""
    if account is None or account.is_erased:
        raise NotRegistered
    return account


def decide_on_account(change: Callable[[Account], object]) -> Callable[[Account | None], list[Account]]:
    """The decision of a command that changes one account. It raises `NotRegistered`."""

    def decide(found: Account | None) -> list[Account]:
        account = require_account(found)
        change(account)
        return [account]

    return decide
