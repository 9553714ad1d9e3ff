"""An account: a person's name, credentials and points."""

from datetime import date
from typing import Self
from uuid import UUID

from eventsourcing.domain import event

from huajuan.domain.account_state import AccountSnapshot
from huajuan.domain.aggregate import Begun, Entity, PersonalText, Reasoned, were_plain
from huajuan.domain.points import CHECK_IN_REWARD, check_least, check_most, check_moved
from huajuan.domain.refusals import (
    AlreadyBanned,
    AlreadyCheckedIn,
    NotBanned,
    NotEnoughPoints,
    NothingHeld,
    NotPending,
    NotRegistered,
)


class Account(Entity):
    """One person's account. Points are available (`balance`) or held for pictures being drawn (`held`)."""

    TOPIC = "account"

    Snapshot = AccountSnapshot

    class Registered(Begun):
        TOPIC = "account.registered"
        username: PersonalText | None
        email: PersonalText | None
        password_hash: PersonalText | None

    class PasswordChanged(Entity.Event):
        TOPIC = "account.password_changed"
        password_hash: PersonalText | None

    class EmailChanged(Entity.Event):
        TOPIC = "account.email_changed"
        email: PersonalText | None

    class AvatarChanged(Entity.Event):
        """The address is empty where the avatar was taken away."""

        TOPIC = "account.avatar_changed"
        class_version = 2
        url: PersonalText | None

        upcast_v1_v2 = were_plain("url")

    class PointsGranted(Reasoned):
        TOPIC = "account.points_granted"
        points: int
        balance: int

    class CheckedIn(Entity.Event):
        TOPIC = "account.checked_in"
        day: date
        points: int
        balance: int

    class CheckInReset(Reasoned):
        """The account may check in again, whatever day its last check-in was for."""

        TOPIC = "account.check_in_reset"

    class PointsHeld(Entity.Event):
        TOPIC = "account.points_held"
        image_id: UUID
        points: int
        balance: int

    class PointsSettled(Entity.Event):
        TOPIC = "account.points_settled"
        image_id: UUID
        points: int

    class PointsReturned(Entity.Event):
        TOPIC = "account.points_returned"
        image_id: UUID
        points: int
        balance: int
        reason: str

    class PointsDeducted(Reasoned):
        TOPIC = "account.points_deducted"
        points: int
        balance: int

    class Banned(Reasoned):
        TOPIC = "account.banned"

    class Unbanned(Reasoned):
        TOPIC = "account.unbanned"

    class ApprovalRequested(Entity.Event):
        """Nobody logs in before an admin approves; `welcome_points` come with the approval."""

        TOPIC = "account.approval_requested"
        welcome_points: int

    class Approved(Reasoned):
        TOPIC = "account.approved"

    class Rejected(Reasoned):
        TOPIC = "account.rejected"

    class Erased(Entity.Event):
        """The person is gone: their points are forfeited, and with the event their key is."""

        TOPIC = "account.erased"
        available: int
        held: int

    # No snapshot knows of it: without a key none can be sealed.
    is_erased = False
    # A snapshot from before there were bans does not say.
    is_banned = False
    # The points that come with the approval; `None` for an account that does not wait for one.
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

    def change_password(self, password_hash: str) -> None:
        """Every token made for an older `credential` is dead from here on."""
        self._change_password(password_hash)

    def change_email(self, email: str) -> None:
        if email != self.email:
            self._change_email(email)

    def change_avatar(self, url: str) -> None:
        if url != self.avatar_url:
            self._change_avatar(url)

    def grant(self, points: int, reason: str) -> None:
        """Raises `PointsUnfit` or `BalanceOutOfRange`."""
        if points:
            check_moved(points)
            self._check_room_for(points)
            self._grant(points, self.balance + points, reason)

    def deduct(self, points: int, reason: str, *, forced: bool = False) -> None:
        """Below zero only if `forced`. Raises `PointsUnfit`, `NotEnoughPoints` or `BalanceOutOfRange`."""
        check_moved(points)
        if self.balance < points and not forced:
            raise NotEnoughPoints
        check_least(self.balance - points)
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

    def request_approval(self, welcome_points: int) -> None:
        self._request_approval(welcome_points)

    def check_pending(self) -> int:
        """The points that were promised. Raises `NotPending`."""
        if self.promised_points is None:
            raise NotPending
        return self.promised_points

    def approve(self, reason: str) -> None:
        points = self.check_pending()
        self._approve(reason)
        self.grant(points, "welcome")

    def reject(self, reason: str) -> None:
        """The person is forgotten with the rejection."""
        self.check_pending()
        self._reject(reason)
        self.erase()

    def check_in(self, day: date, *, once_a_day: bool = True) -> None:
        if once_a_day and self.last_check_in is not None and day <= self.last_check_in:
            raise AlreadyCheckedIn(self.balance)
        self._check_room_for(CHECK_IN_REWARD)
        self._check_in(day, CHECK_IN_REWARD, self.balance + CHECK_IN_REWARD)

    def reset_check_in(self, reason: str) -> None:
        self._reset_check_in(reason)

    def hold(self, image_id: UUID, points: int) -> None:
        if self.balance < points:
            raise NotEnoughPoints
        self._hold(image_id, points, self.balance - points)

    def settle(self, image_id: UUID) -> None:
        self._settle(image_id, self._held_for(image_id))

    def take_back(self, image_id: UUID, reason: str) -> None:
        """The picture did not come: its points return to the balance."""
        points = self._held_for(image_id)
        self._take_back(image_id, points, self.balance + points, reason)

    def erase(self) -> None:
        self._erase(self.balance, sum(self.held.values()))

    def _check_room_for(self, points: int) -> None:
        check_most(self.balance + sum(self.held.values()) + points)

    def _held_for(self, image_id: UUID) -> int:
        try:
            return self.held[image_id]
        except KeyError:
            raise NothingHeld from None

    @event(PasswordChanged)
    def _change_password(self, password_hash: str | None) -> None:
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
    def _request_approval(self, welcome_points: int) -> None:
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
    def _reset_check_in(self, reason: str | None) -> None:
        self.last_check_in = None

    @event(PointsHeld)
    def _hold(self, image_id: UUID, points: int, balance: int) -> None:
        self.balance -= points
        self.held[image_id] = points

    @event(PointsSettled)
    def _settle(self, image_id: UUID, points: int) -> None:
        del self.held[image_id]

    @event(PointsReturned)
    def _take_back(self, image_id: UUID, points: int, balance: int, reason: str) -> None:
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


def known(account: Account | None) -> Account:
    """The account, if there is one. Raises `NotRegistered`."""
    if account is None or account.is_erased:
        raise NotRegistered
    return account
