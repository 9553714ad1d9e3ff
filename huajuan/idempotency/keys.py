"""What is kept of a request that was sent with a key; the database alone can read none of it."""

import hashlib
import hmac
import os
from dataclasses import dataclass
from uuid import UUID

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE_BYTES = 12
_encode = msgspec.msgpack.Encoder().encode


class Reply(msgspec.Struct, frozen=True):
    """A reply as it was sent: `headers` are names and values, in order."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


_decode = msgspec.msgpack.Decoder(Reply).decode


@dataclass(frozen=True)
class KeyedRequest:
    """`row` names the request, `digest` its body; only who has the request's own key can open its reply.

    `account_id` is whose request it is, `None` where nobody has logged in.
    """

    row: bytes
    digest: bytes
    account_id: UUID | None
    secret: AESGCM

    def seal(self, reply: Reply) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self.secret.encrypt(nonce, _encode(reply), self.row)

    def open(self, sealed: bytes) -> Reply:
        return _decode(self.secret.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], self.row))


class RequestNames:
    """`secret` is the service's own and never in the database: what is in there cannot be guessed at.

    A new secret makes every request a new one.
    """

    def __init__(self, secret: str) -> None:
        self._secret = hmac.digest(secret.encode(), b"idempotency", hashlib.sha256)

    def name(self, key: str, who: str, route: str, body: str, account_id: UUID | None) -> KeyedRequest:
        """`who` is an account or an address, `route` the method with the path and the query, `body` a SHA-256 in
        hexadecimal.
        """
        parts = [key, who, route]
        return KeyedRequest(
            row=self._cut("row", *parts),
            digest=self._cut("body", *parts, body),
            account_id=account_id,
            secret=AESGCM(self._cut("reply", *parts)),
        )

    def _cut(self, *parts: str) -> bytes:
        return hmac.digest(self._secret, _encode(parts), hashlib.sha256)
