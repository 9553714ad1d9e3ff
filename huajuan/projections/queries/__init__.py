"""Queries that join read tables, and opaque cursors of their pages: the sort key of the last row (keyset)."""

import base64
import binascii
from typing import Any, TypeVar

import msgspec

K = TypeVar("K")


class InvalidCursor(Exception):
    """The cursor was not made by this service, or was made for another order."""


def encode_cursor(key: Any) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(key)).decode().rstrip("=")


def decode_cursor(cursor: str, kind: type[K]) -> K:
    """Raises `InvalidCursor` if it contains no key of this kind."""
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        return msgspec.json.decode(raw, type=kind)
    except (binascii.Error, msgspec.DecodeError, ValueError):
        raise InvalidCursor from None
