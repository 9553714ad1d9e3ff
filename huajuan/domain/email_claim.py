"""An e-mail address as a thing one account at a time may claim."""

import re
import unicodedata
from typing import Self
from uuid import UUID

from eventsourcing.domain import event

from huajuan.domain.aggregate import Begun, Entity
from huajuan.domain.refusals import EmailMalformed, EmailMissing, EmailTaken

EMAIL_CHARACTERS_MAX = 254
_SHAPE = re.compile(r"[^@\s\x00-\x1f\x7f]{1,64}@[^@\s.\x00-\x1f\x7f]+(\.[^@\s.\x00-\x1f\x7f]+)+")


def check_email(email: str) -> None:
    """Refuse an address that is empty or cannot be one."""
    if not email:
        raise EmailMissing
    if len(email) > EMAIL_CHARACTERS_MAX or not _SHAPE.fullmatch(email):
        raise EmailMalformed


def fold_email(email: str) -> str:
    """The form in which two spellings of one address are the same."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", email).casefold())


class EmailClaim(Entity):
    """Who uses an address. The address itself is only in the stream's keyed id."""

    TOPIC = "email_claim"

    class Claimed(Begun):
        TOPIC = "email_claim.claimed"
        account_id: UUID

    class ClaimedAgain(Entity.Event):
        TOPIC = "email_claim.claimed_again"
        account_id: UUID

    class Released(Entity.Event):
        TOPIC = "email_claim.released"

    @event(Claimed)
    def __init__(self, account_id: UUID) -> None:
        self.account_id: UUID | None = account_id

    @classmethod
    def begin(cls, claim_id: UUID, account_id: UUID) -> Self:
        return cls._create(cls.Claimed, id=claim_id, account_id=account_id)

    def claim(self, account_id: UUID) -> None:
        if self.account_id is not None and self.account_id != account_id:
            raise EmailTaken
        if self.account_id is None:
            self._claim(account_id)

    def release(self) -> None:
        if self.account_id is not None:
            self._release()

    @event(ClaimedAgain)
    def _claim(self, account_id: UUID) -> None:
        self.account_id = account_id

    @event(Released)
    def _release(self) -> None:
        self.account_id = None
