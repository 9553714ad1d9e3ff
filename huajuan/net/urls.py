"""The normal form of the http(s) URLs below which this service is reached, and of origins of web pages."""

from functools import lru_cache
from ipaddress import ip_address
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


@lru_cache(BASES_CACHED_MAX)
def base_of(url: str) -> BaseUrl | None:
    """The normal form of an http(s) URL with a host and without user, query and fragment, else `None`."""
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
    if not parts.hostname:
        raise ValueError(parts.netloc)
    port = "" if parts.port is None else f":{parts.port}"
    host = parts.netloc if parts.netloc.isascii() else parts.hostname.encode("idna").decode() + port
    return urlunsplit((parts.scheme, host, quote(parts.path, safe=_ADDRESS_SAFE), "", ""))


def normalized_origin(text: str) -> str:
    """The form of the `Origin` header of browsers, such as `http://localhost:3000`. Raises `ValueError`."""
    if text in ("*", "null"):  # any origin, and that of a local file
        return text
    parts = urlsplit(text)
    has_more = parts.path not in ("", "/") or "?" in text or "#" in text or "@" in parts.netloc
    if not parts.scheme or not parts.hostname or has_more or not text.isprintable() or set(text) & set(" *"):
        raise ValueError(text)
    port = f":{parts.port}" if parts.port not in (None, _DEFAULT_PORTS.get(parts.scheme)) else ""
    return f"{parts.scheme}://{_origin_host(parts.hostname)}{port}"


def _origin_host(name: str) -> str:
    """The form of browsers: IP addresses shortened, international names in ASCII."""
    if ":" in name:
        return f"[{ip_address(name)}]"
    if name.rpartition(".")[2].isdecimal():
        return str(ip_address(name))
    if name.isascii():
        return name
    encoded = name.encode("idna")
    if encoded.decode("idna") != name:  # browsers encode such a name differently
        raise ValueError(name)
    return encoded.decode()
