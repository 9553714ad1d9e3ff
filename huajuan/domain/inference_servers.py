"""The inference servers that admins add to or remove from those in the settings, and their addresses."""

import re
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import IPv6Address, ip_address
from typing import Self
from urllib.parse import SplitResult, urlsplit
from uuid import UUID

from eventsourcing.domain import event

from huajuan.domain.aggregate import AggregateRoot, CreatedEvent
from huajuan.domain.refusals import (
    ServerAddressHasCredentials,
    ServerAddressInvalid,
    ServerAlreadyAdded,
    ServerNotFound,
)
from huajuan.domain.rules import check_reason

SERVER_URL_CHARACTERS_MAX = 500
_PORTS = {"http": 80, "https": 443}
# Names that mean the local machine everywhere. Other names depend on DNS and may change their meaning.
_THIS_MACHINE = frozenset({"localhost", "localhost.", "127.0.0.1", "::1", "0.0.0.0", "::"})  # noqa: S104


def normalize_server_url(text: str) -> str:
    """Scheme and host in lower case, an IP address in its short form, no default port, no trailing slash.

    Raises `ServerAddressInvalid`, and its subclass `ServerAddressHasCredentials`.
    """
    url = text.strip().rstrip("/")
    if any(mark in url for mark in "@?#"):  # a user, password, query or fragment
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
        normal = url.rstrip("/")
        with suppress(ServerAddressInvalid):
            normal = normalize_server_url(url)
        found.setdefault(server_key(url), normal)
    return list(found.values())


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


class InferenceServers(AggregateRoot):
    """One stream for the whole service. Additions and removals take precedence over the settings."""

    TOPIC = "studio"

    class Opened(CreatedEvent):
        TOPIC = "studio.opened"

    class ServerAdded(AggregateRoot.Event):
        TOPIC = "studio.painter_added"
        url: str
        reason: str

    class ServerRemoved(AggregateRoot.Event):
        TOPIC = "studio.painter_removed"
        url: str
        reason: str

    @event(Opened)
    def __init__(self) -> None:
        self.added: list[str] = []
        self.removed: set[str] = set()

    @classmethod
    def begin(cls, stream_id: UUID) -> Self:
        return cls._create(cls.Opened, id=stream_id)

    def urls(self, configured: Iterable[str]) -> list[str]:
        """Return the distinct addresses in use, in order; `configured` are those in the settings."""
        removed = {server_key(url) for url in self.removed}
        servers = deduplicate_servers([*configured, *self.added])
        return [url for url in servers if server_key(url) not in removed]

    def add(self, url: str, configured: Iterable[str], reason: str) -> None:
        """Raises `ServerAddressInvalid`, `ServerAlreadyAdded` or a `ReasonInvalid`."""
        check_reason(reason)
        url = normalize_server_url(url)
        if self._is_used(url, configured):
            raise ServerAlreadyAdded
        self._add(url, reason)

    def remove(self, url: str, configured: Iterable[str], reason: str) -> None:
        """Raises `ServerAddressInvalid`, `ServerNotFound` or a `ReasonInvalid`."""
        check_reason(reason)
        url = normalize_server_url(url)
        if not self._is_used(url, configured):
            raise ServerNotFound
        self._remove(url, reason)

    def _is_used(self, url: str, configured: Iterable[str]) -> bool:
        return server_key(url) in map(server_key, self.urls(configured))

    @event(ServerAdded)
    def _add(self, url: str, reason: str) -> None:
        self.added.append(url)
        self.removed = {other for other in self.removed if server_key(other) != server_key(url)}

    @event(ServerRemoved)
    def _remove(self, url: str, reason: str) -> None:
        self.added = [other for other in self.added if server_key(other) != server_key(url)]
        self.removed.add(url)
