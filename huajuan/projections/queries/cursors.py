"""Cursors: the place of the last row seen, in a form that tells a client nothing."""

import base64
import binascii
from typing import Any, TypeVar

import msgspec

P = TypeVar("P")


class BadCursor(Exception):
    """The cursor is none of ours, or was made for another order."""


def cursor_at(place: Any) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def place_of(cursor: str, kind: type[P]) -> P:
    """Raises `BadCursor` for what is no place of this kind."""
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        return msgspec.json.decode(raw, type=kind)
    except (binascii.Error, msgspec.DecodeError, ValueError):
        raise BadCursor from None
