"""A painter's address: one spelling for each, and which of them are surely one and the same place."""

import re
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import IPv6Address, ip_address
from urllib.parse import SplitResult, urlsplit

from huajuan.domain.refusals import PainterAddressSecret, PainterUnfit

URL_CHARACTERS_MAX = 500
_PORTS = {"http": 80, "https": 443}
# Names that every machine has for itself. Of others only a name server knows whether they are one, and it may
# say something else tomorrow.
_THIS_MACHINE = frozenset({"localhost", "localhost.", "127.0.0.1", "::1", "0.0.0.0", "::"})  # noqa: S104


def painter_url(text: str) -> str:
    """Scheme and host in lower case, an IP address in its short form, no usual port, no slash at the end.

    Raises `PainterUnfit`; `PainterAddressSecret` for one with credentials.
    """
    url = text.strip().rstrip("/")
    if has_credentials(url):
        raise PainterAddressSecret
    plain = url.isascii() and url.isprintable() and " " not in url
    parts = _parts(url)
    if parts is None or not plain or len(url) > URL_CHARACTERS_MAX:
        raise PainterUnfit
    return _spelled(parts, _host(parts))


def without_credentials(url: str) -> str:
    """What a server is shown and named by: its address without user, password, query and fragment."""
    url = url.strip().rstrip("/")
    parts = _parts(url)
    if parts is not None and is_server_address(url):
        return _spelled(parts, _host(parts))
    # It cannot be read, so any part before the last @ may belong to a password.
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}{re.split(r'[?#]', rest.rpartition('@')[2])[0]}" if separator else url


def has_credentials(url: str) -> bool:
    return any(mark in url for mark in "@?#")


def is_server_address(url: str) -> bool:
    """Whether it can be read as an address with a scheme, a host and perhaps a port, in one way only."""
    parts = _parts(url.strip())
    return parts is not None and "@" not in parts.path + parts.query + parts.fragment


def place_of(url: str) -> str:
    """The same for all addresses that are surely one place, whatever is written there."""
    parts = _parts(url.strip().rstrip("/"))
    if parts is None:
        return url.rstrip("/")
    host = _host(parts)
    return _spelled(parts, "localhost" if host in _THIS_MACHINE else host)


def one_of_each(urls: Iterable[str]) -> list[str]:
    """Of those that are one place the first, in order. One that no admin could add is left as it is."""
    found: dict[str, str] = {}
    for url in urls:
        found.setdefault(place_of(url), _as_added(url))
    return list(found.values())


def _as_added(url: str) -> str:
    try:
        return painter_url(url)
    except PainterUnfit:
        return url.rstrip("/")


def _parts(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        fits = parts.scheme in _PORTS and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        fits = False
    return parts if fits else None


def _host(parts: SplitResult) -> str:
    host = parts.hostname or ""
    with suppress(ValueError):
        address = ip_address(host)
        mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
        host = str(mapped or address)
    return host


def _spelled(parts: SplitResult, host: str) -> str:
    named = f"[{host}]" if ":" in host else host
    port = f":{parts.port}" if parts.port not in (None, _PORTS[parts.scheme]) else ""
    return f"{parts.scheme}://{named}{port}{parts.path.rstrip('/')}"
