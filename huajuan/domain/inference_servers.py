"""The studio: which painters draw here, beside or instead of those that the settings name."""

from collections.abc import Iterable
from typing import Self
from uuid import UUID

from eventsourcing.domain import event

from huajuan.domain.aggregate import Begun, Entity
from huajuan.domain.reasons import check_reason
from huajuan.domain.refusals import AlreadyPainter, NotPainter
from huajuan.domain.server_address import one_of_each, painter_url, place_of


class Studio(Entity):
    """There is one. What an admin adds or removes holds until the opposite is done, whatever the settings say."""

    TOPIC = "studio"

    class Opened(Begun):
        TOPIC = "studio.opened"

    class PainterAdded(Entity.Event):
        TOPIC = "studio.painter_added"
        url: str
        reason: str

    class PainterRemoved(Entity.Event):
        TOPIC = "studio.painter_removed"
        url: str
        reason: str

    @event(Opened)
    def __init__(self) -> None:
        self.added: list[str] = []
        self.removed: set[str] = set()

    @classmethod
    def open(cls, studio_id: UUID) -> Self:
        return cls._create(cls.Opened, id=studio_id)

    def painters(self, configured: Iterable[str]) -> list[str]:
        """All that draw, in order, each under one address."""
        removed = {place_of(url) for url in self.removed}
        return [url for url in one_of_each([*configured, *self.added]) if place_of(url) not in removed]

    def add(self, url: str, configured: Iterable[str], reason: str) -> None:
        check_reason(reason)
        url = painter_url(url)
        if self._draws(url, configured):
            raise AlreadyPainter
        self._add(url, reason)

    def remove(self, url: str, configured: Iterable[str], reason: str) -> None:
        check_reason(reason)
        url = painter_url(url)
        if not self._draws(url, configured):
            raise NotPainter
        self._remove(url, reason)

    def _draws(self, url: str, configured: Iterable[str]) -> bool:
        return place_of(url) in map(place_of, self.painters(configured))

    @event(PainterAdded)
    def _add(self, url: str, reason: str) -> None:
        self.added.append(url)
        self.removed = {known for known in self.removed if place_of(known) != place_of(url)}

    @event(PainterRemoved)
    def _remove(self, url: str, reason: str) -> None:
        self.added = [known for known in self.added if place_of(known) != place_of(url)]
        self.removed.add(url)
