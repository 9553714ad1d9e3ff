"""Finds events in the log and decodes them; personal fields are decrypted while the person's key exists."""

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

from huajuan.audit.connection import AuditGap, fetch_all, unreadable_event
from huajuan.event_store.log_reader import RecordedEvent
from huajuan.event_store.mapper import EventMapper

COLUMNS = "originator_id, originator_version, topic, state, notification_id"
PAGE_EVENTS = 1_000
# These expressions must equal those of the indexes in the log's schema.
ABOUT_ACCOUNT = """left(split_part(encode(state, 'escape'), '"account_id":"', 2), 36)"""
ABOUT_IMAGE = """left(split_part(encode(state, 'escape'), '"image_id":"', 2), 36)"""
LIKES = "topic IN ('like.given', 'like.given_again', 'like.taken_back')"
OF_ACCOUNTS = """topic IN ('like.given', 'like.given_again', 'like.taken_back',
                    'favorite.added', 'favorite.added_again', 'favorite.removed',
                    'email_claim.claimed', 'email_claim.claimed_again')"""
_JSON = "convert_from(state, 'UTF8')::json"
_IMAGES = f"""
SELECT ({_JSON}->>'image_id')::uuid FROM log.huajuan_events
 WHERE originator_id = %b AND topic = 'account.points_held' AND notification_id <= %b
"""  # noqa: S608  constants of this module
_POSITIONS = """
SELECT originator_id, notification_id FROM log.huajuan_events
 WHERE originator_id = ANY(%b) AND topic = %b AND notification_id <= %b
"""
_KEYS = "SELECT subject_id, key FROM operations.personal_keys WHERE subject_id = ANY(%b)"
_STREAM = f"""
SELECT {COLUMNS} FROM log.huajuan_events
 WHERE originator_id = %b AND originator_version > %b AND notification_id <= %b
 ORDER BY originator_version LIMIT {PAGE_EVENTS}
"""  # noqa: S608  constants of this module
_FIRST_EVENTS = f"""
SELECT {COLUMNS} FROM log.huajuan_events WHERE originator_id = ANY(%b) AND originator_version = 1
"""  # noqa: S608  constants of this module
_DECODING_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, binascii.Error, InvalidTag, TopicError, KeyError)
EventRow = tuple[UUID, int, str, bytes, int]


class EventReader:
    """Decodes events; personal fields of erased persons are `None`. Raises `AuditError` if unreadable."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self.connection = connection
        self._keys: dict[UUID, AESGCM | None] = {}
        self._mapper = EventMapper(keys=self._keys)

    def select(self, query: str, values: Sequence[Any]) -> list[RecordedEvent]:
        """The query must select `COLUMNS`."""
        rows: list[EventRow] = fetch_all(self.connection, query, *values)
        for row in rows:
            self._load_keys(row)
        return [RecordedEvent(row[4], self._event(row)) for row in rows]

    def stream(self, stream: UUID, last: int) -> Iterator[RecordedEvent]:
        """A stream's events up to a position. Raises `AuditGap` if a version is missing."""
        version = 0
        while page := self.select(_STREAM, (stream, version, last)):
            for recorded in page:
                if recorded.event.originator_version != version + 1:
                    raise AuditGap(recorded.position)
                version += 1
                yield recorded

    def first_events(self, streams: Sequence[UUID]) -> list[RecordedEvent]:
        """The first event of each stream that exists."""
        return self.select(_FIRST_EVENTS, (list(streams),))

    def _load_keys(self, row: EventRow) -> None:
        missing = self._subjects(row) - self._keys.keys()
        if missing:
            keys: dict[UUID, bytes | None] = dict(fetch_all(self.connection, _KEYS, list(missing)))
            self._keys |= {each: AESGCM(key) if (key := keys.get(each)) else None for each in missing}

    def _subjects(self, row: EventRow) -> set[UUID]:
        try:
            return self._mapper.subjects([StoredEvent(*row[:4])])
        except _DECODING_ERRORS:
            raise unreadable_event(row[4]) from None

    def _event(self, row: EventRow) -> Any:
        try:
            return self._mapper.to_domain_event(StoredEvent(*row[:4]))
        except _DECODING_ERRORS:
            raise unreadable_event(row[4]) from None


def requested_images(connection: psycopg.Connection, account: UUID, last: int) -> list[UUID]:
    """Streams of all images that the account requested: each has a `points_held` event of the account."""
    return [image for (image,) in fetch_all(connection, _IMAGES, account, last)]


def drawn_positions(connection: psycopg.Connection, images: list[UUID], last: int) -> dict[UUID, int]:
    """The position of each drawn image's `image.drawn`, which is its id in the API."""
    return dict(fetch_all(connection, _POSITIONS, images, "image.drawn", last))


def requested_positions(connection: psycopg.Connection, images: list[UUID], last: int) -> dict[UUID, int]:
    """The position of each image's `image.requested`, which is the id of its job in the API."""
    return dict(fetch_all(connection, _POSITIONS, images, "image.requested", last))
