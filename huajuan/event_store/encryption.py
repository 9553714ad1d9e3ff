"""Seals personal fields with AES-GCM so that they can be read only while the person's key exists."""

import os
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable
from typing import Any
from uuid import UUID

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NONCE_BYTES = 12
# Stands where words were that nobody can read any more.
ERASED = "(erased)"
_encode = msgspec.json.Encoder().encode


def new_key() -> bytes:
    return AESGCM.generate_key(256)


def seal(key: AESGCM, place: bytes, value: Any) -> str:
    """Encrypt a JSON-able value; it can only be opened at the same `place`."""
    nonce = os.urandom(NONCE_BYTES)
    return b2a_base64(nonce + key.encrypt(nonce, _encode(value), place), newline=False).decode()


def unseal(key: AESGCM, place: bytes, sealed: str, decode: Callable[[bytes], Any]) -> Any:
    raw = a2b_base64(sealed)
    return decode(key.decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], place))


def place_of(stream: UUID, version: int, field: str) -> bytes:
    """Binds a sealed value to its event and field, so that it cannot be moved to another."""
    return b"%b%d%b" % (stream.bytes, version, field.encode())
