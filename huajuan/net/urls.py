"""Parses the http(s) URLs below which this service is reached: validity, normal form, ASCII form."""

from functools import lru_cache
from typing import NamedTuple
from urllib.parse import SplitResult, quote, unquote, urlsplit, urlunsplit

_DEFAULT_PORTS = {"http": 80, "https": 443}
BASES_CACHED_MAX = 64
# A configured URL may be percent-encoded already.
_ADDRESS_SAFE = "/%:@!$&'()*+,;=~"


class BaseUrl(NamedTuple):
    """The normal form of a URL that other URLs begin with."""

    origin: tuple[str, str, int]
    path: str


def is_base(url: str) -> bool:
    """Whether this is an http(s) URL with a host and without user, query and fragment."""
    return base_of(url) is not None


@lru_cache(BASES_CACHED_MAX)
def base_of(url: str) -> BaseUrl | None:
    """The normal form of a base URL, or `None` if it is not one."""
    if not is_plain(url) or "?" in url or "#" in url:
        return None
    try:
        parts = urlsplit(url)
        origin = origin_of(parts)
    except ValueError:
        return None
    return BaseUrl(origin, unquoted_path(parts)) if origin else None


def is_plain(url: str) -> bool:
    """Whether the URL has no spaces and control characters, which `urlsplit` removes silently."""
    return url.isprintable() and " " not in url


def origin_of(parts: SplitResult) -> tuple[str, str, int] | None:
    """Scheme, host and port of an http(s) URL without user. Raises `ValueError`."""
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or "@" in parts.netloc:
        return None
    # An invalid host name raises a UnicodeError, which is a ValueError.
    host = parts.hostname if parts.hostname.isascii() else parts.hostname.encode("idna").decode()
    return parts.scheme, host.rstrip("."), parts.port or _DEFAULT_PORTS[parts.scheme]


def unquoted_path(parts: SplitResult) -> str:
    return unquote(parts.path).rstrip("/")


@lru_cache(maxsize=16)
def ascii_address(url: str) -> str:
    """The URL percent-encoded and with an ASCII host. Raises `ValueError` for an invalid host."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, _ascii_host(parts), quote(parts.path, safe=_ADDRESS_SAFE), "", ""))


def _ascii_host(parts: SplitResult) -> str:
    port = "" if parts.port is None else f":{parts.port}"
    if not parts.hostname:
        raise ValueError(parts.netloc)
    return parts.netloc if parts.netloc.isascii() else parts.hostname.encode("idna").decode() + port
