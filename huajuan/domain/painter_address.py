"""A painter's address: one spelling for each, and which of them are surely one and the same place."""

from collections.abc import Iterable
from contextlib import suppress
from ipaddress import IPv6Address, ip_address
from urllib.parse import SplitResult, urlsplit

from huajuan.domain.refusals import PainterUnfit

URL_CHARACTERS_MAX = 500
_PORTS = {"http": 80, "https": 443}
# Names that every machine has for itself. Of others only a name server knows whether they are one, and it may
# say something else tomorrow.
_THIS_MACHINE = frozenset({"localhost", "localhost.", "127.0.0.1", "::1", "0.0.0.0", "::"})  # noqa: S104


def painter_url(text: str) -> str:
    """Scheme and host in lower case, an IP address in its short form, no usual port, no slash at the end.

    Raises `PainterUnfit`.
    """
    url = text.strip().rstrip("/")
    plain = url.isascii() and url.isprintable() and not set(" @?#") & set(url)
    parts = _parts(url)
    if parts is None or not plain or len(url) > URL_CHARACTERS_MAX:
        raise PainterUnfit
    return _spelled(parts, _host(parts))


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
    return f"{parts.scheme}://{named}{port}{parts.path}"
