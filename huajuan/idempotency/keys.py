"""Keyed hashes that identify a request with an idempotency key, and the encryption of its stored reply.

The keys are derived from a secret that is not in the database.
"""

import hashlib
import hmac
import os
from dataclasses import dataclass
from uuid import UUID

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE_BYTES = 12
_encode = msgspec.msgpack.Encoder().encode


class StoredReply(msgspec.Struct, frozen=True):
    """A reply as it was sent; `headers` are names and values in order."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


_decode = msgspec.msgpack.Decoder(StoredReply).decode


@dataclass(frozen=True)
class IdempotentRequest:
    """`row` identifies the request, `digest` its body; the reply is encrypted with the `secret` of the
    request.

    `account_id` is `None` for a request without log-in.
    """

    row: bytes
    digest: bytes
    account_id: UUID | None
    secret: AESGCM

    def seal(self, reply: StoredReply) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self.secret.encrypt(nonce, _encode(reply), self.row)

    def open(self, sealed: bytes) -> StoredReply:
        return _decode(self.secret.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], self.row))


class IdempotencyKeys:
    """Derives the identity of requests from the service's `secret`; a new secret makes all requests new."""

    def __init__(self, secret: str) -> None:
        self._key = hmac.digest(secret.encode(), b"idempotency", hashlib.sha256)

    def name(self, key: str, who: str, route: str, body: str, account_id: UUID | None) -> IdempotentRequest:
        """`who` is an account or address, `route` method, path and query, `body` a hexadecimal SHA-256."""
        parts = [key, who, route]
        return IdempotentRequest(
            row=self._derive("row", *parts),
            digest=self._derive("body", *parts, body),
            account_id=account_id,
            secret=AESGCM(self._derive("reply", *parts)),
        )

    def _derive(self, *parts: str) -> bytes:
        return hmac.digest(self._key, _encode(parts), hashlib.sha256)
