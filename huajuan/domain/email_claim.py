"""The claim on an e-mail address: at most one account holds it at a time."""

import re
import unicodedata
from typing import Self
from uuid import UUID

from eventsourcing.domain import event

from huajuan.domain.aggregate import AggregateRoot, CreatedEvent
from huajuan.domain.refusals import EmailMalformed, EmailMissing, EmailTaken, Refused

EMAIL_CHARACTERS_MAX = 254
_SHAPE = re.compile(r"[^@\s\x00-\x1f\x7f]{1,64}@[^@\s.\x00-\x1f\x7f]+(\.[^@\s.\x00-\x1f\x7f]+)+")


def check_email(email: str) -> None:
    """Raises `EmailMissing` or `EmailMalformed`."""
    if not email:
        raise EmailMissing
    if len(email) > EMAIL_CHARACTERS_MAX or not _SHAPE.fullmatch(email):
        raise EmailMalformed


def fold_email(email: str) -> str:
    """Return the normal form, which is equal for all spellings of one address."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", email).casefold())


class EmailClaim(AggregateRoot):
    """The account that uses an address. The address itself is only in the keyed stream id."""

    TOPIC = "email_claim"

    class Claimed(CreatedEvent):
        TOPIC = "email_claim.claimed"
        account_id: UUID

    class ClaimedAgain(AggregateRoot.Event):
        TOPIC = "email_claim.claimed_again"
        account_id: UUID

    class Released(AggregateRoot.Event):
        TOPIC = "email_claim.released"

    @event(Claimed)
    def __init__(self, account_id: UUID) -> None:
        self.account_id: UUID | None = account_id

    @classmethod
    def begin(cls, claim_id: UUID, account_id: UUID) -> Self:
        return cls._create(cls.Claimed, id=claim_id, account_id=account_id)

    def claim(self, account_id: UUID) -> None:
        """Raises `EmailTaken` if another account holds the claim."""
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


class EmailChangedConcurrently(Refused):
    """The account's e-mail address changed after it was read. The command reads it again and retries."""
