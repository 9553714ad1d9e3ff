"""Computes stream ids from values with a keyed hash, so that an id does not reveal the value."""

import hashlib
import hmac
from uuid import UUID

from psycopg import AsyncConnection, Connection

from huajuan.domain.credentials import normalize_username
from huajuan.domain.email_claim import fold_email

_SELECT = "SELECT stream_key FROM operations.installation"


class StreamIds:
    """The ids of streams that are found by a value. `key` is the secret of this installation."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def account(self, username: str) -> UUID:
        """Usernames are case-sensitive and compared in one Unicode normal form."""
        return self._derive("account", normalize_username(username))

    def installation(self) -> UUID:
        """A public name of this log, derived from the key."""
        return self._derive("installation", "")

    def email_claim(self, email: str) -> UUID:
        return self._derive("email", fold_email(email))

    def like(self, account_id: UUID, image_id: UUID) -> UUID:
        return self._derive("like", f"{account_id}{image_id}")

    def favorite(self, account_id: UUID, image_id: UUID) -> UUID:
        return self._derive("favorite", f"{account_id}{image_id}")

    def admin(self, account_id: UUID) -> UUID:
        return self._derive("admin", str(account_id))

    def inference_servers(self) -> UUID:
        return self._derive("studio", "")  # an older name, which the stored id depends on

    def read_table(self, projection: str) -> UUID:
        """`projection` is the name with its version."""
        return self._derive("read table", projection)

    def keyed_hash(self, purpose: str, value: str) -> bytes:
        """A hash under the installation's key, for values that must be recognised and not be readable."""
        return hmac.digest(self._key, f"{purpose}\0{value}".encode(), hashlib.sha256)

    def _derive(self, purpose: str, value: str) -> UUID:
        return UUID(bytes=self.keyed_hash(purpose, value)[:16], version=5)


async def load_stream_ids(connection: AsyncConnection) -> StreamIds:
    return _with_key(await (await connection.execute(_SELECT)).fetchone())


def load_stream_ids_blocking(connection: Connection) -> StreamIds:
    """The same for code without an event loop."""
    return _with_key(connection.execute(_SELECT).fetchone())


def _with_key(row: tuple[bytes] | None) -> StreamIds:
    if row is None:
        raise RuntimeError("the log's schema has not been made")
    return StreamIds(row[0])
