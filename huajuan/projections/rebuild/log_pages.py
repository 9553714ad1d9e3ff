"""Reads and decodes the log for a rebuild in large pages; the next one is fetched during the fold."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
import psycopg
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from eventsourcing.persistence import StoredEvent
from eventsourcing.utils import resolve_topic

from huajuan.event_store.mapper import EventMapper, EventSpec, StructDecoder

# psycopg loads bytes faster than UUIDs. The query is planned for each page: a prepared plan would not hash
# the topics.
_PAGE = """
SELECT uuid_send(originator_id), originator_version, topic, state, notification_id FROM log.huajuan_events
 WHERE notification_id > %s AND notification_id <= %s AND topic = ANY(%s) ORDER BY notification_id
"""
_HEAD = "SELECT coalesce(max(notification_id), 0) FROM log.huajuan_events"
_KEYS = """
SELECT k.key FROM unnest(%s::uuid[]) WITH ORDINALITY AS wanted (subject_id, n)
  LEFT JOIN operations.personal_keys k USING (subject_id) ORDER BY n
"""
# Stream, version, topic, state and position.
Row = tuple[bytes, int, str, bytes, int]
# The position and class of an event, and the event: a struct, or an instance of the class for an older
# version.
DecodedEvent = tuple[int, type[Any], Any]


class UndecodableEvent(NamedTuple):
    """Replaces an event that cannot be decoded. Folding it raises the error."""

    originator_id: UUID
    topic: str
    error: Exception


class LogPages:
    """Reads on a connection of its own, partly from another thread."""

    def __init__(self, connection: psycopg.Connection, topics: Sequence[str], events_max: int) -> None:
        self._connection = connection
        self._topics = list(topics)
        self._events_max = events_max
        self._decoder = PageDecoder(connection)

    def head(self) -> int:
        """The last position of the log."""
        (row,) = self._connection.execute(_HEAD).fetchall()
        return int(row[0])

    def between(self, after: int, upto: int) -> Iterator[tuple[int, list[DecodedEvent]]]:
        """For each page its last position, and its events of the topics."""
        ends = [min(start + self._events_max, upto) for start in range(after, upto, self._events_max)]
        starts = [after, *ends[:-1]]
        with ThreadPoolExecutor(1) as thread:
            next_page = thread.submit(self._fetch, after, ends[0]) if ends else None
            for n, end in enumerate(ends):
                rows = next_page.result() if next_page else []
                # It reads keys on the same connection, so before the next page is fetched.
                events = self._decoder.decode(rows)
                if n + 1 < len(ends):
                    next_page = thread.submit(self._fetch, starts[n + 1], ends[n + 1])
                yield end, events

    def _fetch(self, after: int, upto: int) -> list[Row]:
        values = (after, upto, self._topics)
        return self._connection.execute(_PAGE, values, prepare=False, binary=True).fetchall()


class PageDecoder:
    """Decodes into structs, several times as fast as into the classes of events, as the live decoder does.

    The personal keys are read on `connection`, and kept for one page only.
    """

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection
        self._kinds: dict[str, StructDecoder] = {}
        self._keys: dict[UUID, AESGCM | None] = {}
        self._mapper = EventMapper(keys=self._keys)

    def decode(self, rows: list[Row]) -> list[DecodedEvent]:
        """Rows that cannot be decoded become `UndecodableEvent`s."""
        try:
            return self._decode_page(rows)
        except psycopg.Error:
            raise
        except Exception:  # noqa: BLE001  one of the events is undecodable
            return [self._decode_row(row) for row in rows]

    def _decode_row(self, row: Row) -> DecodedEvent:
        try:
            return self._decode_page([row])[0]
        except psycopg.Error:
            raise
        except Exception as error:  # noqa: BLE001
            return row[4], UndecodableEvent, UndecodableEvent(UUID(bytes=row[0]), row[2], error)

    def _decode_page(self, rows: list[Row]) -> list[DecodedEvent]:
        decoded: list[DecodedEvent] = []
        encrypted: list[tuple[StructDecoder, Any]] = []
        older: list[tuple[int, StoredEvent]] = []
        # Converting all ids at once is several times as fast as calling the class for each.
        streams = msgspec.convert([row[0] for row in rows], list[UUID])
        for stream, (_, version, topic, raw, position) in zip(streams, rows, strict=True):
            kind = self._kinds.get(topic) or self._add_kind(topic)
            if not raw.endswith(kind.newest_suffix):
                older.append((len(decoded), StoredEvent(stream, version, topic, raw)))
                decoded.append((position, kind.cls, None))
                continue
            event = kind.decode(raw)
            event.originator_id, event.originator_version = stream, version
            if kind.personal:
                encrypted.append((kind, event))
            decoded.append((position, kind.cls, event))
        self._decrypt(encrypted, older)
        for at, stored in older:
            decoded[at] = (*decoded[at][:2], self._mapper.to_domain_event(stored))
        return decoded

    def _add_kind(self, topic: str) -> StructDecoder:
        return self._kinds.setdefault(topic, StructDecoder(EventSpec(resolve_topic(topic))))

    def _decrypt(
        self, encrypted: list[tuple[StructDecoder, Any]], older: list[tuple[int, StoredEvent]]
    ) -> None:
        subjects = {getattr(event, kind.subject) for kind, event in encrypted}
        self._load_keys(subjects | self._mapper.subjects(stored for _, stored in older))
        for kind, event in encrypted:
            kind.decrypt(event, self._keys[getattr(event, kind.subject)])

    def _load_keys(self, subjects: set[UUID]) -> None:
        """Replaces the keys of the page before."""
        wanted = list(subjects)
        found = self._connection.execute(_KEYS, (wanted,), prepare=True, binary=True).fetchall()
        self._keys.clear()
        self._keys |= {subject: key and AESGCM(key) for subject, (key,) in zip(wanted, found, strict=True)}
