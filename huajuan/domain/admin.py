"""The admin role: an account has it, or no longer does."""

from typing import Self
from uuid import UUID

from eventsourcing.domain import event

from huajuan.domain.aggregate import Begun, Entity, Reasoned
from huajuan.domain.refusals import AlreadyAdmin, NotAdmin


class Admin(Entity):
    """The stream's id is cut from the account's, so there is one role for each account."""

    TOPIC = "admin"

    class Granted(Begun, Reasoned):
        TOPIC = "admin.granted"
        subject = "account_id"
        account_id: UUID

    class GrantedAgain(Reasoned):
        TOPIC = "admin.granted_again"
        subject = "account_id"
        account_id: UUID

    class Revoked(Reasoned):
        TOPIC = "admin.revoked"
        subject = "account_id"
        account_id: UUID

    @event(Granted)
    def __init__(self, account_id: UUID, reason: str | None) -> None:
        self.account_id = account_id
        self.stands = True

    @classmethod
    def begin(cls, admin_id: UUID, account_id: UUID, reason: str) -> Self:
        return cls._create(cls.Granted, id=admin_id, account_id=account_id, reason=reason)

    def grant(self, reason: str) -> None:
        if self.stands:
            raise AlreadyAdmin
        self._grant(self.account_id, reason)

    def revoke(self, reason: str) -> None:
        if not self.stands:
            raise NotAdmin
        self._revoke(self.account_id, reason)

    @event(GrantedAgain)
    def _grant(self, account_id: UUID, reason: str | None) -> None:
        self.stands = True

    @event(Revoked)
    def _revoke(self, account_id: UUID, reason: str | None) -> None:
        self.stands = False
