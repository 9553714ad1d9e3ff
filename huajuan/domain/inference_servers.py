"""The inference servers that admins add to or remove from those in the settings."""

from collections.abc import Iterable
from typing import Self
from uuid import UUID

from eventsourcing.domain import event

from huajuan.domain.aggregate import AggregateRoot, CreatedEvent
from huajuan.domain.refusals import ServerAlreadyAdded, ServerNotFound
from huajuan.domain.rules import check_reason
from huajuan.domain.server_address import deduplicate_servers, normalize_server_url, server_key


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
