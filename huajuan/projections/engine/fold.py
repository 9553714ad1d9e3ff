"""Decodes rows of the log and folds the events into rows of a read table, live and in rebuilds alike."""

from collections.abc import Iterable
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from eventsourcing.persistence import StoredEvent
from eventsourcing.utils import resolve_topic

from huajuan.event_store.mapper import EventMapper, EventSpec, Keys, StructDecoder
from huajuan.projections.engine.projection import NO_SKIPS, Fold, Projection, Skips

# Stream, version, topic, state and position. psycopg loads bytes faster than UUIDs.
LogRow = tuple[bytes, int, str, bytes, int]
LOG_COLUMNS = "uuid_send(originator_id), originator_version, topic, state, notification_id"
# The position and class of an event, and the event: a struct, or an instance of the class for an older
# version.
DecodedEvent = tuple[int, type[Any], Any]
# For each event: the key of its row, the fold, the event, its position, and whether no row is before it.
Work = list[tuple[Any, Fold, Any, int, bool]]


class UndecodableEvent(NamedTuple):
    """Replaces an event that cannot be decoded. Folding it raises the error."""

    originator_id: UUID
    topic: str
    error: Exception


class FoldFailed(Exception):
    """The fold of the event at `position` failed; the cause is the error of the fold."""

    def __init__(self, position: int) -> None:
        super().__init__(position)
        self.position = position


class ParsedPage(NamedTuple):
    """Events whose personal fields are still encrypted, or that are of an older version, are `pending`.

    `subjects` are the accounts whose keys they need.
    """

    events: list[DecodedEvent]
    pending: list[tuple[int, StructDecoder | None, Any]]
    subjects: set[UUID]


class PageDecoder:
    """Decodes into structs, several times as fast as into the classes of events.

    It has two steps, because the `keys` of the page are loaded in between. Events that cannot be decoded
    become `UndecodableEvent`s.
    """

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._mapper = EventMapper(keys=keys)
        self._kinds: dict[str, StructDecoder] = {}

    def parse(self, rows: list[LogRow]) -> ParsedPage:
        events, pending, subjects = page = ParsedPage([], [], set())
        # Converting all ids at once is several times as fast as calling the class for each.
        streams = msgspec.convert([row[0] for row in rows], list[UUID])
        for stream, (_, version, topic, raw, position) in zip(streams, rows, strict=True):
            try:
                kind = self._kinds.get(topic) or self._add_kind(topic)
                if raw.endswith(kind.newest_suffix):
                    event = kind.decode(raw)
                    event.originator_id, event.originator_version = stream, version
                    if kind.personal:
                        subjects.add(getattr(event, kind.subject))
                        pending.append((len(events), kind, event))
                else:
                    event = StoredEvent(stream, version, topic, raw)
                    subjects.update(self._mapper.subjects([event]))
                    pending.append((len(events), None, event))
                events.append((position, kind.cls, event))
            except Exception as error:  # noqa: BLE001  raised by the fold
                events.append((position, UndecodableEvent, UndecodableEvent(stream, topic, error)))
        return page

    def _add_kind(self, topic: str) -> StructDecoder:
        return self._kinds.setdefault(topic, StructDecoder(EventSpec(resolve_topic(topic))))

    def finish(self, page: ParsedPage) -> list[DecodedEvent]:
        """To be called when the keys of `page.subjects` are loaded."""
        for at, kind, event in page.pending:
            position, cls, _ = page.events[at]
            try:
                if kind:
                    kind.decrypt(event, self._keys[getattr(event, kind.subject)])
                else:
                    page.events[at] = position, cls, self._mapper.to_domain_event(event)
            except Exception as error:  # noqa: BLE001  raised by the fold
                undecodable = UndecodableEvent(event.originator_id, cls.TOPIC, error)
                page.events[at] = position, UndecodableEvent, undecodable
        return page.events


def find_work(projection: Projection, batch: Iterable[DecodedEvent], skips: Skips = NO_SKIPS) -> Work:
    """The events of the batch that the projection folds, with the keys of their rows. Raises `FoldFailed`."""
    handlers, skipped = projection.handlers, skips.positions
    work: Work = []
    for position, cls, event in batch:
        if handler := handlers.get(cls):
            if position not in skipped:
                work.append((handler.key(event, position), handler.fold, event, position, False))
        elif cls is UndecodableEvent and event.topic in projection.topics and position not in skipped:
            raise FoldFailed(position) from event.error
    return work


def fold_rows(rows: dict[Any, Any], work: Work, skipped_keys: frozenset[Any] = frozenset()) -> None:
    """Changes `rows` by key; a deleted row becomes `None`. Raises `FoldFailed`.

    `skipped_keys` are those of rows that a skipped event would have created.
    """
    for key, fold, event, position, _ in work:
        row = rows.get(key)
        try:
            rows[key] = fold(row, event, position)
        except Exception as error:
            if row is not None or key not in skipped_keys:
                raise FoldFailed(position) from error
