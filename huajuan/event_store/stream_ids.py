"""Stream ids that are names nobody can read back: cut from a keyed hash of what they stand for."""

import hashlib
import hmac
from uuid import UUID

from huajuan.domain.credentials import spell_name
from huajuan.domain.email_claim import fold_email


class StreamIds:
    """Ids of the streams that are found by a value, under this installation's key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def account(self, username: str) -> UUID:
        """Usernames differ by case; two spellings of one character are the same."""
        return self._cut("account", spell_name(username))

    def installation(self) -> UUID:
        """A name for this log that says nothing of its key."""
        return self._cut("installation", "")

    def email_claim(self, email: str) -> UUID:
        return self._cut("email", fold_email(email))

    def like(self, account_id: UUID, image_id: UUID) -> UUID:
        return self._cut("like", f"{account_id}{image_id}")

    def favorite(self, account_id: UUID, image_id: UUID) -> UUID:
        return self._cut("favorite", f"{account_id}{image_id}")

    def admin(self, account_id: UUID) -> UUID:
        return self._cut("admin", str(account_id))

    def studio(self) -> UUID:
        return self._cut("studio", "")

    def read_table(self, projection: str) -> UUID:
        """A projection's name with its version."""
        return self._cut("read table", projection)

    def blind(self, kind: str, value: str) -> bytes:
        """A hash under this installation's key, for what must be recognised and not be readable."""
        return hmac.digest(self._key, f"{kind}\0{value}".encode(), hashlib.sha256)

    def _cut(self, kind: str, value: str) -> UUID:
        return UUID(bytes=self.blind(kind, value)[:16], version=5)
