"""Reads the log in order, a page at a time."""

from typing import Any, NamedTuple

from eventsourcing.persistence import StoredEvent
from psycopg import AsyncConnection

from huajuan.event_store.keys import KeyRing
from huajuan.event_store.mapper import EventMapper

_PAGE = """
SELECT originator_id, originator_version, topic, state, notification_id
  FROM log.huajuan_events WHERE notification_id > %b ORDER BY notification_id LIMIT %b
"""


class Recorded(NamedTuple):
    """An event and its position in the log."""

    position: int
    event: Any


class LogReader:
    """Positions are gapless and appear in commit order, so nothing is ever missed behind one read."""

    def __init__(self, mapper: EventMapper, keys: KeyRing) -> None:
        self._mapper = mapper
        self._keys = keys

    async def page(self, connection: AsyncConnection, after: int, events_max: int) -> list[Recorded]:
        cursor = await connection.execute(_PAGE, (after, events_max), prepare=True, binary=True)
        rows = await cursor.fetchall()
        stored = [StoredEvent(*row[:4]) for row in rows]
        await self._keys.need(self._mapper.subjects(stored), connection)
        to_event = self._mapper.to_domain_event
        return [Recorded(row[4], to_event(event)) for row, event in zip(rows, stored, strict=True)]
