"""Tells addresses of our own pictures from others, however they are written."""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from huajuan.domain.avatar import OWN_PATH

_DEFAULT_PORTS = {"http": 80, "https": 443}
BASES_CACHED_MAX = 64


class _Base(NamedTuple):
    """What an address begins with, in its one normal form."""

    place: tuple[str, str, int]
    path: str


def is_base(address: str) -> bool:
    """Whether addresses of pictures may begin with this."""
    return _base_of(address) is not None


def own_path(address: str, bases: Sequence[str]) -> str | None:
    """`/images/…` or `/avatars/…` if this is the address of a picture at one of `bases`, or the path of one alone.

    A query and a fragment do not matter, nor does how host, port and path are spelled.
    """
    if not _is_plain(address):
        return None
    try:
        parts = urlsplit(address)
        place = _place_of(parts)
    except ValueError:
        return None
    path = unquote(parts.path).rstrip("/")
    known = [base for base in map(_base_of, bases) if base]
    if parts.scheme or parts.netloc:
        prefixes = [base.path for base in known if base.place == place]
    else:
        prefixes = ["", *(base.path for base in known)]
    found = (path.removeprefix(prefix) for prefix in prefixes if path.startswith(prefix))
    return next((one for one in found if OWN_PATH.fullmatch(one)), None)


def present(address: str, bases: Sequence[str]) -> str:
    """The address by which a picture of ours is reached now; any other stays as it is."""
    path = own_path(address, bases) if address and bases else None
    return f"{bases[0]}{path}" if path else address


@lru_cache(BASES_CACHED_MAX)
def _base_of(address: str) -> _Base | None:
    if not _is_plain(address) or "?" in address or "#" in address:
        return None
    try:
        parts = urlsplit(address)
        place = _place_of(parts)
    except ValueError:
        return None
    return _Base(place, unquote(parts.path).rstrip("/")) if place else None


def _is_plain(address: str) -> bool:
    """The parser leaves line breaks and the like out without a word."""
    return address.isprintable() and " " not in address


def _place_of(parts: SplitResult) -> tuple[str, str, int] | None:
    """Scheme, host and port of an address of the web without a user. Raises `ValueError`."""
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or "@" in parts.netloc:
        return None
    # What no name of a host can be raises a UnicodeError, which is a ValueError.
    host = parts.hostname if parts.hostname.isascii() else parts.hostname.encode("idna").decode()
    return parts.scheme, host.rstrip("."), parts.port or _DEFAULT_PORTS[parts.scheme]
