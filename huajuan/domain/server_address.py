"""The address of an inference server: its normal form, and which addresses surely mean the same server."""

import re
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import IPv6Address, ip_address
from urllib.parse import SplitResult, urlsplit

from huajuan.domain.refusals import ServerAddressHasCredentials, ServerAddressInvalid

SERVER_URL_CHARACTERS_MAX = 500
_PORTS = {"http": 80, "https": 443}
# Names that mean the local machine everywhere. Other names depend on DNS and may change their meaning.
_THIS_MACHINE = frozenset({"localhost", "localhost.", "127.0.0.1", "::1", "0.0.0.0", "::"})  # noqa: S104


def normalize_server_url(text: str) -> str:
    """Scheme and host in lower case, an IP address in its short form, no default port, no trailing slash.

    Raises `ServerAddressInvalid`, and its subclass `ServerAddressHasCredentials`.
    """
    url = text.strip().rstrip("/")
    if _has_credentials(url):
        raise ServerAddressHasCredentials
    is_plain = url.isascii() and url.isprintable() and " " not in url
    parts = _parts(url)
    if parts is None or not is_plain or len(url) > SERVER_URL_CHARACTERS_MAX:
        raise ServerAddressInvalid
    return _join(parts, _host(parts))


def without_credentials(url: str) -> str:
    """Return the address without user, password, query and fragment, for logs and replies."""
    url = url.strip().rstrip("/")
    parts = _parts(url)
    if parts is not None and is_server_address(url):
        return _join(parts, _host(parts))
    # The URL is ambiguous, so everything before the last @ may be part of a password.
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}{re.split(r'[?#]', rest.rpartition('@')[2])[0]}" if separator else url


def _has_credentials(url: str) -> bool:
    """Whether the address may contain a user, password, query or fragment."""
    return any(mark in url for mark in "@?#")


def is_server_address(url: str) -> bool:
    """Whether the URL has a scheme, a host and perhaps a port, and is not ambiguous."""
    parts = _parts(url.strip())
    return parts is not None and "@" not in parts.path + parts.query + parts.fragment


def server_key(url: str) -> str:
    """Return a key that is equal for all addresses that surely mean the same server."""
    parts = _parts(url.strip().rstrip("/"))
    if parts is None:
        return url.rstrip("/")
    host = _host(parts)
    return _join(parts, "localhost" if host in _THIS_MACHINE else host)


def deduplicate_servers(urls: Iterable[str]) -> list[str]:
    """Return the first address of each server, in order and normalized where the address is valid."""
    found: dict[str, str] = {}
    for url in urls:
        found.setdefault(server_key(url), _normalized_if_valid(url))
    return list(found.values())


def _normalized_if_valid(url: str) -> str:
    try:
        return normalize_server_url(url)
    except ServerAddressInvalid:
        return url.rstrip("/")


def _parts(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        is_valid = parts.scheme in _PORTS and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_valid = False
    return parts if is_valid else None


def _host(parts: SplitResult) -> str:
    host = parts.hostname or ""
    with suppress(ValueError):
        address = ip_address(host)
        mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
        host = str(mapped or address)
    return host


def _join(parts: SplitResult, host: str) -> str:
    bracketed = f"[{host}]" if ":" in host else host
    port = f":{parts.port}" if parts.port not in (None, _PORTS[parts.scheme]) else ""
    return f"{parts.scheme}://{bracketed}{port}{parts.path.rstrip('/')}"
