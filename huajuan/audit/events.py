"""Reads events for auditors, what is personal in them unsealed where the person's key is still there."""

import binascii
from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

import msgspec
import psycopg
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from eventsourcing.persistence import StoredEvent
from eventsourcing.utils import TopicError

from huajuan.audit.errors import gap_before, unreadable
from huajuan.event_store.log_reader import Recorded
from huajuan.event_store.mapper import EventMapper

COLUMNS = "originator_id, originator_version, topic, state, notification_id"
PAGE_EVENTS = 1_000
_KEYS = "SELECT subject_id, key FROM operations.personal_keys WHERE subject_id = ANY(%b)"
_STREAM = f"""
SELECT {COLUMNS} FROM log.huajuan_events
 WHERE originator_id = %b AND originator_version > %b AND notification_id <= %b
 ORDER BY originator_version LIMIT {PAGE_EVENTS}
"""  # noqa: S608  our own words
_BEGINNINGS = f"""
SELECT {COLUMNS} FROM log.huajuan_events WHERE originator_id = ANY(%b) AND originator_version = 1
"""  # noqa: S608  our own words
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, binascii.Error, InvalidTag, TopicError, KeyError)
Row = tuple[UUID, int, str, bytes, int]


class Reader:
    """Of an erased person, what is personal reads `None`. Raises `AuditError` for what cannot be read."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self.connection = connection
        self._keys: dict[UUID, AESGCM | None] = {}
        self._mapper = EventMapper(keys=self._keys)

    def select(self, query: str, values: Sequence[Any]) -> list[Recorded]:
        """The query's columns are `COLUMNS`."""
        rows: list[Row] = self.connection.execute(
            query.encode(), values, prepare=True, binary=True
        ).fetchall()
        for row in rows:
            self._need(row)
        return [Recorded(row[4], self._event(row)) for row in rows]

    def stream(self, stream: UUID, last: int) -> Iterator[Recorded]:
        """A stream's events up to a position. Raises `AuditGap` where some are missing."""
        version = 0
        while page := self.select(_STREAM, (stream, version, last)):
            for recorded in page:
                if recorded.event.originator_version != version + 1:
                    raise gap_before(recorded.position)
                version += 1
                yield recorded

    def beginnings(self, streams: Sequence[UUID]) -> list[Recorded]:
        """The first event of each stream that there is."""
        return self.select(_BEGINNINGS, (list(streams),))

    def _need(self, row: Row) -> None:
        missing = self._subjects(row) - self._keys.keys()
        if missing:
            found = self.connection.execute(_KEYS, (list(missing),), prepare=True, binary=True)
            keys: dict[UUID, bytes | None] = dict(found.fetchall())
            self._keys |= {one: AESGCM(key) if (key := keys.get(one)) else None for one in missing}

    def _subjects(self, row: Row) -> set[UUID]:
        try:
            return self._mapper.subjects([StoredEvent(*row[:4])])
        except _UNREADABLE:
            raise unreadable(row[4]) from None

    def _event(self, row: Row) -> Any:
        try:
            return self._mapper.to_domain_event(StoredEvent(*row[:4]))
        except _UNREADABLE:
            raise unreadable(row[4]) from None
