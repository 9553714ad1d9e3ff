"""Reads the log: pages in order, single streams, events by position, accounts that ever were admins."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from eventsourcing.persistence import StoredEvent
from psycopg import AsyncConnection, AsyncCursor

from huajuan.event_store.event_clock import EventClock
from huajuan.event_store.mapper import EventMapper
from huajuan.event_store.personal_keys import KeyRing
from huajuan.postgres.connect import connect
from huajuan.postgres.errors import OUTAGES, DatabaseBusy, DatabaseUnavailable
from huajuan.postgres.statements import Statements

_PAGE = """
SELECT originator_id, originator_version, topic, state, notification_id
  FROM log.huajuan_events WHERE notification_id > %b ORDER BY notification_id LIMIT %b
"""
# The sum keeps the planner from the index on positions, which would scan the whole log behind one position.
_AFTER = """
SELECT e.originator_id, e.originator_version, e.topic, e.state, e.notification_id
  FROM log.huajuan_events e
 WHERE e.originator_id = %(stream)s AND e.notification_id + 0 > %(after)s
   AND e.topic = ANY(%(topics)s::text[])
 ORDER BY e.originator_version
"""
_LAST_OF_TOPIC = """
SELECT coalesce(max(notification_id + 0), 0) FROM log.huajuan_events
 WHERE originator_id = %(stream)s AND topic = %(topic)s
"""
_AT = """
SELECT e.originator_id, e.originator_version, e.topic, e.state, e.notification_id
  FROM log.huajuan_events e WHERE e.notification_id = ANY(%(positions)s::bigint[])
"""
_STREAM_AT = """
SELECT originator_id FROM log.huajuan_events
 WHERE notification_id = %(position)s AND topic = ANY(%(topics)s::text[])
"""
# LATERAL and newest first: one row of the primary key is read for each stream.
_NEWEST = """
SELECT wanted.stream, e.notification_id
  FROM unnest(%(streams)s::uuid[]) AS wanted(stream)
 CROSS JOIN LATERAL (
       SELECT k.notification_id FROM log.huajuan_events k
        WHERE k.originator_id = wanted.stream ORDER BY k.originator_version DESC LIMIT 1) e
"""
_ADMINS_LOCK = "SELECT pg_advisory_lock(hashtext('huajuan admins'))"
# The condition of the index admins_granted.
_EVER_ADMINS = b"""
SELECT (convert_from(state, 'UTF8')::json->>'account_id')::uuid
  FROM log.huajuan_events WHERE topic = 'admin.granted'
"""

# Rows of the log. The last column is the position.
Rows = list[tuple[Any, ...]]


class RecordedEvent(NamedTuple):
    """An event and its position in the log. The event is `None` where it was left out."""

    position: int
    event: Any


class LogReader:
    """Reads pages of the log.

    Positions have no gaps and appear in commit order, so a reader misses no event.
    """

    def __init__(self, mapper: EventMapper, keys: KeyRing, clock: EventClock | None = None) -> None:
        self._mapper = mapper
        self._keys = keys
        self._clock = clock

    async def select_page(self, connection: AsyncConnection, after: int, events_max: int) -> AsyncCursor:
        """Sends the query of the next page. In a pipeline the rows are available later."""
        return await connection.execute(_PAGE, (after, events_max), prepare=True, binary=True)

    async def rows(self, connection: AsyncConnection, after: int, events_max: int) -> Rows:
        return await (await self.select_page(connection, after, events_max)).fetchall()

    async def decode(
        self,
        connection: AsyncConnection,
        rows: Rows,
        topics: frozenset[str],
        left_out: frozenset[int] = frozenset(),
    ) -> list[RecordedEvent]:
        """Decodes the rows of these topics, except those at the positions `left_out`.

        The other rows are not decoded, because a newer program may have written them. Their event is `None`.
        """
        wanted = (row for row in rows if row[2] in topics and row[4] not in left_out)
        stored = [(row[4], StoredEvent(*row[:4])) for row in wanted]
        await self._keys.load(self._mapper.subjects(event for _, event in stored), connection)
        to_event = self._mapper.to_domain_event
        read = [RecordedEvent(position, to_event(event)) for position, event in stored]
        if self._clock:
            self._clock.observe(recorded.event.timestamp for recorded in read)
        return read if len(read) == len(rows) else _with_gaps(read, [row[4] for row in rows])


def _with_gaps(read: list[RecordedEvent], positions: list[int]) -> list[RecordedEvent]:
    known = {recorded.position: recorded for recorded in read}
    return [known.get(position, RecordedEvent(position, None)) for position in positions]


class StreamReader:
    """Reads single streams and events.

    Holds no connection between two calls. Raises `DatabaseUnavailable`.
    """

    def __init__(self, statements: Statements, mapper: EventMapper, keys: KeyRing) -> None:
        self._statements = statements
        self._mapper = mapper
        self._keys = keys

    async def after(self, stream: UUID, position: int, topics: frozenset[str]) -> list[RecordedEvent]:
        """The stream's events of these topics behind a position, in order. For short streams."""
        values = {"stream": stream, "after": position, "topics": sorted(topics)}
        return await self._decode(await self._statements.run(_AFTER, values))

    async def at(self, positions: list[int]) -> list[RecordedEvent]:
        """The events at these positions, in any order."""
        return await self._decode(await self._statements.run(_AT, {"positions": positions}))

    async def stream_at(self, position: int, *topics: str) -> UUID | None:
        """The stream of the event at this position, if the event has one of these topics."""
        rows = await self._statements.run(_STREAM_AT, {"position": position, "topics": list(topics)})
        return rows[0][0] if rows else None

    async def newest(self, streams: list[UUID]) -> dict[UUID, int]:
        """The position of each stream's last event."""
        return dict(await self._statements.run(_NEWEST, {"streams": streams}))

    async def last_position(self, stream: UUID, topic: str) -> int:
        """The position of the stream's last event of this topic, 0 if there is none."""
        ((position,),) = await self._statements.run(_LAST_OF_TOPIC, {"stream": stream, "topic": topic})
        return int(position)

    async def _decode(self, rows: Rows) -> list[RecordedEvent]:
        stored = [(row[4], StoredEvent(*row[:4])) for row in rows]
        await self._keys.load(self._mapper.subjects(event for _, event in stored))
        return [RecordedEvent(at, self._mapper.to_domain_event(event)) for at, event in stored]


@asynccontextmanager
async def locked_admin_ids(dsn: str, seconds_max: float) -> AsyncIterator[list[UUID]]:
    """The accounts that ever were admins, under an exclusive lock that is held during the block.

    Raises `DatabaseBusy` where the lock was not acquired in time, and `DatabaseUnavailable`.
    """
    timeout = f"SET statement_timeout = {round(seconds_max * 1000)}"
    try:
        connection = await connect(dsn, 2 * seconds_max, timeout, _ADMINS_LOCK)
    except OUTAGES as error:
        raise _as_failure(error) from error
    try:
        try:
            accounts = [row[0] for row in await (await connection.execute(_EVER_ADMINS)).fetchall()]
        except OUTAGES as error:
            raise _as_failure(error) from error
        yield accounts
    finally:
        # The lock ends with the connection.
        await connection.close()


def _as_failure(error: Exception) -> DatabaseBusy | DatabaseUnavailable:
    return DatabaseBusy() if isinstance(error, psycopg.errors.QueryCanceled) else DatabaseUnavailable()
