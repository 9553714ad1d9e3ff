"""The admin role: an account has it, or no longer does."""

from typing import Self
from uuid import UUID

from eventsourcing.domain import event

from huajuan.domain.facts import Begun, Entity
from huajuan.domain.refusals import AlreadyAdmin, NotAdmin


class Admin(Entity):
    """The stream's id is cut from the account's, so there is one role for each account."""

    TOPIC = "admin"

    class Granted(Begun):
        TOPIC = "admin.granted"
        account_id: UUID
        reason: str

    class GrantedAgain(Entity.Event):
        TOPIC = "admin.granted_again"
        account_id: UUID
        reason: str

    class Revoked(Entity.Event):
        TOPIC = "admin.revoked"
        account_id: UUID
        reason: str

    @event(Granted)
    def __init__(self, account_id: UUID, reason: str) -> None:
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
    def _grant(self, account_id: UUID, reason: str) -> None:
        self.stands = True

    @event(Revoked)
    def _revoke(self, account_id: UUID, reason: str) -> None:
        self.stands = False
