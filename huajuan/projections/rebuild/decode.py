"""Decodes the pages of the log that a rebuild reads: lean events, with the personal keys of one page at a time."""

from typing import Any, NamedTuple
from uuid import UUID

import msgspec
import psycopg
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from eventsourcing.persistence import StoredEvent
from eventsourcing.utils import resolve_topic

from huajuan.event_store.mapper import EventMapper, EventSpec
from huajuan.event_store.struct_events import LeanKind

_KEYS = """
SELECT k.key FROM unnest(%s::uuid[]) WITH ORDINALITY AS wanted (subject_id, n)
  LEFT JOIN operations.personal_keys k USING (subject_id) ORDER BY n
"""
# Stream, version, topic, state and position.
Row = tuple[bytes, int, str, bytes, int]
# An event's position and class, and the event itself, lean as a rule.
Read = tuple[int, type[Any], Any]


class Unreadable(NamedTuple):
    """Stands for an event that cannot be decoded, until somebody would fold it."""

    originator_id: UUID
    topic: str
    error: Exception


class PageDecoder:
    """Asks on `connection` for the keys."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection
        self._kinds: dict[str, LeanKind] = {}
        self._keys: dict[UUID, AESGCM | None] = {}
        self._mapper = EventMapper(keys=self._keys)

    def decoded(self, rows: list[Row]) -> list[Read]:
        """What cannot be decoded is `Unreadable`."""
        try:
            return self._decoded_at_once(rows)
        except psycopg.Error:
            raise
        except Exception:  # noqa: BLE001  whatever is wrong, it is of one event
            return [self._decoded_alone(row) for row in rows]

    def _decoded_alone(self, row: Row) -> Read:
        try:
            return self._decoded_at_once([row])[0]
        except psycopg.Error:
            raise
        except Exception as error:  # noqa: BLE001
            return row[4], Unreadable, Unreadable(UUID(bytes=row[0]), row[2], error)

    def _decoded_at_once(self, rows: list[Row]) -> list[Read]:
        read: list[Read] = []
        sealed: list[tuple[LeanKind, Any]] = []
        older: list[tuple[int, StoredEvent]] = []
        # Many are made of their bytes at once, several times as fast as the class itself makes one.
        streams = msgspec.convert([row[0] for row in rows], list[UUID])
        for stream, (_, version, topic, raw, position) in zip(streams, rows, strict=True):
            kind = self._kinds.get(topic) or self._kind(topic)
            if not raw.endswith(kind.ending):
                older.append((len(read), StoredEvent(stream, version, topic, raw)))
                read.append((position, kind.cls, None))
                continue
            event = kind.decode(raw)
            event.originator_id, event.originator_version = stream, version
            if kind.personal:
                sealed.append((kind, event))
            read.append((position, kind.cls, event))
        self._unseal(sealed, older)
        for at, stored in older:
            read[at] = (*read[at][:2], self._mapper.to_domain_event(stored))
        return read

    def _kind(self, topic: str) -> LeanKind:
        return self._kinds.setdefault(topic, LeanKind(EventSpec(resolve_topic(topic))))

    def _unseal(self, sealed: list[tuple[LeanKind, Any]], older: list[tuple[int, StoredEvent]]) -> None:
        subjects = {getattr(event, kind.subject) for kind, event in sealed}
        self._need(subjects | self._mapper.subjects(stored for _, stored in older))
        for kind, event in sealed:
            kind.unseal(event, self._keys[getattr(event, kind.subject)])

    def _need(self, subjects: set[UUID]) -> None:
        """The keys of one page at a time: nobody's is kept for longer."""
        wanted = list(subjects)
        found = self._connection.execute(_KEYS, (wanted,), prepare=True, binary=True).fetchall()
        self._keys.clear()
        self._keys |= {subject: key and AESGCM(key) for subject, (key,) in zip(wanted, found, strict=True)}
