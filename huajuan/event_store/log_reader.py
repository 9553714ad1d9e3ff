"""Reads the log in order, a page at a time."""

from typing import Any, NamedTuple

from eventsourcing.persistence import StoredEvent
from psycopg import AsyncConnection, AsyncCursor

from huajuan.event_store.fact_clock import FactClock
from huajuan.event_store.mapper import EventMapper
from huajuan.event_store.personal_keys import KeyRing

_PAGE = """
SELECT originator_id, originator_version, topic, state, notification_id
  FROM log.huajuan_events WHERE notification_id > %b ORDER BY notification_id LIMIT %b
"""


# As the log has them; the last column is the position.
Rows = list[tuple[Any, ...]]


class Recorded(NamedTuple):
    """An event and its position in the log; `None` is one that was left out."""

    position: int
    event: Any


class LogReader:
    """Positions are gapless and appear in commit order, so nothing is ever missed behind one read."""

    def __init__(self, mapper: EventMapper, keys: KeyRing, facts: FactClock | None = None) -> None:
        self._mapper = mapper
        self._keys = keys
        self._facts = facts

    async def ask(self, connection: AsyncConnection, after: int, events_max: int) -> AsyncCursor:
        """For the next page, of which the cursor has the rows; in a pipeline nothing is waited for."""
        return await connection.execute(_PAGE, (after, events_max), prepare=True, binary=True)

    async def rows(self, connection: AsyncConnection, after: int, events_max: int) -> Rows:
        return await (await self.ask(connection, after, events_max)).fetchall()

    async def read(
        self,
        connection: AsyncConnection,
        rows: Rows,
        topics: frozenset[str],
        left_out: frozenset[int] = frozenset(),
    ) -> list[Recorded]:
        """Events of other topics, or at the positions `left_out`, are not decoded: it may be that they cannot be.

        So a process passes over kinds of events that only newer ones know.
        """
        wanted = (row for row in rows if row[2] in topics and row[4] not in left_out)
        stored = [(row[4], StoredEvent(*row[:4])) for row in wanted]
        await self._keys.need(self._mapper.subjects(event for _, event in stored), connection)
        to_event = self._mapper.to_domain_event
        read = [Recorded(position, to_event(event)) for position, event in stored]
        if self._facts:
            self._facts.know(recorded.event.timestamp for recorded in read)
        return read if len(read) == len(rows) else _with_gaps(read, [row[4] for row in rows])


def _with_gaps(read: list[Recorded], positions: list[int]) -> list[Recorded]:
    """What was left out keeps its place, so that a reader moves past it."""
    known = {recorded.position: recorded for recorded in read}
    return [known.get(position, Recorded(position, None)) for position in positions]
