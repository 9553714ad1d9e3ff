"""Why points were given or taken: sealed under the account's key where people typed it, and gone with that key."""

from uuid import UUID

import msgspec
import psycopg
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from huajuan.audit.errors import unreadable
from huajuan.audit.ledger import Fact
from huajuan.event_store.encryption import ERASED, place_of, unseal

# Of the topics whose reason is personal, the version since which it is sealed.
SEALED_SINCE = {"account.points_granted": 2, "account.points_deducted": 2, "account.check_in_reset": 2}
_KEY = "SELECT key FROM operations.personal_keys WHERE subject_id = %b AND key IS NOT NULL"
_text = msgspec.json.Decoder(str).decode


class Reasons:
    """Those of one account's events."""

    def __init__(self, connection: psycopg.Connection, account: UUID) -> None:
        self._account = account
        row = connection.execute(_KEY.encode(), (account,), binary=True).fetchone()
        self._key = AESGCM(row[0]) if row else None

    def of(self, version: int, position: int, topic: str, fact: Fact) -> str | None:
        """Raises `AuditError` for one that was not sealed there."""
        since = SEALED_SINCE.get(topic)
        if since is None or fact.reason is None:
            return fact.reason
        if self._key is None:
            return ERASED
        if fact.class_version < since:
            return fact.reason
        return _opened(self._key, place_of(self._account, version, "reason"), fact.reason, position)


def _opened(key: AESGCM, place: bytes, sealed: str, position: int) -> str:
    try:
        return str(unseal(key, place, sealed, _text))
    except (ValueError, InvalidTag, msgspec.DecodeError):
        raise unreadable(position) from None
