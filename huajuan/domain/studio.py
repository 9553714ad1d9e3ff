"""The studio: which painters draw here, beside or instead of those that the settings name."""

from collections.abc import Iterable
from typing import Self
from urllib.parse import urlsplit
from uuid import UUID

from eventsourcing.domain import event

from huajuan.domain.facts import Begun, Entity
from huajuan.domain.reasons import check_reason
from huajuan.domain.refusals import AlreadyPainter, NotPainter, PainterUnfit

URL_CHARACTERS_MAX = 500


def painter_url(text: str) -> str:
    """The address without a slash at its end. Raises `PainterUnfit`."""
    url = text.strip().rstrip("/")
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        fits = False
    plain = url.isascii() and url.isprintable() and " " not in url and "@" not in url
    if not fits or not plain or len(url) > URL_CHARACTERS_MAX or "?" in url or "#" in url:
        raise PainterUnfit
    return url


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
        """All that draw, in order."""
        here = [url.rstrip("/") for url in configured]
        return [url for url in dict.fromkeys([*here, *self.added]) if url not in self.removed]

    def add(self, url: str, configured: Iterable[str], reason: str) -> None:
        check_reason(reason)
        url = painter_url(url)
        if url in self.painters(configured):
            raise AlreadyPainter
        self._add(url, reason)

    def remove(self, url: str, configured: Iterable[str], reason: str) -> None:
        check_reason(reason)
        url = painter_url(url)
        if url not in self.painters(configured):
            raise NotPainter
        self._remove(url, reason)

    @event(PainterAdded)
    def _add(self, url: str, reason: str) -> None:
        self.added.append(url)
        self.removed.discard(url)

    @event(PainterRemoved)
    def _remove(self, url: str, reason: str) -> None:
        self.added = [known for known in self.added if known != url]
        self.removed.add(url)
