"""Reads the log for a rebuild: large pages, the next one fetched while this one is folded."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import psycopg

from huajuan.projections.rebuild.decode import PageDecoder, Read, Row

# Bytes are loaded faster than UUIDs. Planned anew for each page, since only then are the topics hashed.
_PAGE = """
SELECT uuid_send(originator_id), originator_version, topic, state, notification_id FROM log.huajuan_events
 WHERE notification_id > %s AND notification_id <= %s AND topic = ANY(%s) ORDER BY notification_id
"""
_HEAD = "SELECT coalesce(max(notification_id), 0) FROM log.huajuan_events"


class LogPages:
    """Reads on a connection of its own, which it may use from another thread."""

    def __init__(self, connection: psycopg.Connection, topics: Sequence[str], events_max: int) -> None:
        self._connection = connection
        self._topics = list(topics)
        self._events_max = events_max
        self._decoder = PageDecoder(connection)

    def head(self) -> int:
        """The log's last position."""
        (row,) = self._connection.execute(_HEAD).fetchall()
        return int(row[0])

    def between(self, after: int, upto: int) -> Iterator[tuple[int, list[Read]]]:
        """For each page the position it reaches, and those of its events that somebody folds."""
        ends = [min(start + self._events_max, upto) for start in range(after, upto, self._events_max)]
        starts = [after, *ends[:-1]]
        with ThreadPoolExecutor(1) as ahead:
            coming = ahead.submit(self._fetch, after, ends[0]) if ends else None
            for n, end in enumerate(ends):
                rows = coming.result() if coming else []
                # The keys are asked for on the same connection, so before the next page is.
                events = self._decoder.decoded(rows)
                if n + 1 < len(ends):
                    coming = ahead.submit(self._fetch, starts[n + 1], ends[n + 1])
                yield end, events

    def _fetch(self, after: int, upto: int) -> list[Row]:
        values = (after, upto, self._topics)
        return self._connection.execute(_PAGE, values, prepare=False, binary=True).fetchall()
