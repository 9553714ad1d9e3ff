"""Reads the log for a rebuild: large pages, the next one fetched while this one is folded."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from huajuan.event_store.mapper import EventMapper
from huajuan.event_store.reading import Recorded

_PAGE = """
SELECT originator_id, originator_version, topic, state, notification_id FROM log.huajuan_events
 WHERE notification_id > %s AND notification_id <= %s AND topic = ANY(%s) ORDER BY notification_id
"""
_KEYS = "SELECT subject_id, key FROM operations.personal_keys WHERE subject_id = ANY(%s) AND key IS NOT NULL"
_HEAD = "SELECT coalesce(max(notification_id), 0) FROM log.huajuan_events"
Rows = list[tuple[Any, ...]]


class Unreadable(NamedTuple):
    """Stands for an event that cannot be decoded, until somebody would fold it."""

    topic: str
    error: Exception


class LogPages:
    """Reads on a connection of its own, which it may use from another thread."""

    def __init__(self, connection: psycopg.Connection, topics: Sequence[str], events_max: int) -> None:
        self._connection = connection
        self._topics = list(topics)
        self._events_max = events_max
        self._keys: dict[UUID, AESGCM | None] = {}
        self._mapper = EventMapper(keys=self._keys)

    def head(self) -> int:
        """The log's last position."""
        (row,) = self._connection.execute(_HEAD).fetchall()
        return int(row[0])

    def between(self, after: int, upto: int) -> Iterator[tuple[int, list[Recorded]]]:
        """For each page the position it reaches, and those of its events that somebody folds."""
        ends = [min(start + self._events_max, upto) for start in range(after, upto, self._events_max)]
        starts = [after, *ends[:-1]]
        with ThreadPoolExecutor(1) as ahead:
            coming = ahead.submit(self._fetch, after, ends[0]) if ends else None
            for n, end in enumerate(ends):
                rows = coming.result() if coming else []
                # The keys are asked for on the same connection, so before the next page is.
                events = self._decoded(rows)
                if n + 1 < len(ends):
                    coming = ahead.submit(self._fetch, starts[n + 1], ends[n + 1])
                yield end, events

    def _fetch(self, after: int, upto: int) -> Rows:
        values = (after, upto, self._topics)
        return self._connection.execute(_PAGE, values, prepare=True, binary=True).fetchall()

    def _decoded(self, rows: Rows) -> list[Recorded]:
        try:
            return self._decoded_at_once(rows)
        except psycopg.Error:
            raise
        except Exception:  # noqa: BLE001  whatever is wrong, it is of one event
            return [self._decoded_alone(row) for row in rows]

    def _decoded_at_once(self, rows: Rows) -> list[Recorded]:
        decode, make = self._mapper.decode, self._mapper.make
        decoded = [(*decode(*row[:4]), row[4]) for row in rows]
        self._need({state[spec.subject] for spec, state, _ in decoded if spec.personal})
        return [Recorded(position, make(spec, state)) for spec, state, position in decoded]

    def _decoded_alone(self, row: tuple[Any, ...]) -> Recorded:
        try:
            return self._decoded_at_once([row])[0]
        except psycopg.Error:
            raise
        except Exception as error:  # noqa: BLE001
            return Recorded(row[4], Unreadable(row[2], error))

    def _need(self, subjects: set[UUID]) -> None:
        """The keys of one page at a time: nobody's is kept for longer."""
        found = self._connection.execute(_KEYS, (list(subjects),), prepare=True, binary=True).fetchall()
        self._keys.clear()
        self._keys |= dict.fromkeys(subjects) | {subject: AESGCM(key) for subject, key in found}
