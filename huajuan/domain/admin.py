"""The admin role of an account: granted and revoked in turn."""

from typing import Self
from uuid import UUID

from eventsourcing.domain import event

from huajuan.domain.aggregate import AggregateRoot, CreatedEvent, ReasonedEvent
from huajuan.domain.refusals import AlreadyAdmin, NotAdmin


class Admin(AggregateRoot):
    """The stream id is derived from the account id, so there is one stream for each account."""

    TOPIC = "admin"

    class Granted(CreatedEvent, ReasonedEvent):
        TOPIC = "admin.granted"
        subject = "account_id"
        account_id: UUID

    class GrantedAgain(ReasonedEvent):
        TOPIC = "admin.granted_again"
        subject = "account_id"
        account_id: UUID

    class Revoked(ReasonedEvent):
        TOPIC = "admin.revoked"
        subject = "account_id"
        account_id: UUID

    @event(Granted)
    def __init__(self, account_id: UUID, reason: str | None) -> None:
        self.account_id = account_id
        self.is_active = True

    @classmethod
    def begin(cls, admin_id: UUID, account_id: UUID, reason: str) -> Self:
        return cls._create(cls.Granted, id=admin_id, account_id=account_id, reason=reason)

    def grant(self, reason: str) -> None:
        if self.is_active:
            raise AlreadyAdmin
        self._grant(self.account_id, reason)

    def revoke(self, reason: str) -> None:
        if not self.is_active:
            raise NotAdmin
        self._revoke(self.account_id, reason)

    @event(GrantedAgain)
    def _grant(self, account_id: UUID, reason: str | None) -> None:
        self.is_active = True

    @event(Revoked)
    def _revoke(self, account_id: UUID, reason: str | None) -> None:
        self.is_active = False
