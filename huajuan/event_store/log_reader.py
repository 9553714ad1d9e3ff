"""Reads the log: single streams, events by position, accounts that ever were admins."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from uuid import UUID

from eventsourcing.persistence import StoredEvent

from huajuan.event_store.mapper import EventMapper
from huajuan.event_store.personal_keys import KeyRing
from huajuan.postgres.connect import connect
from huajuan.postgres.retry import failures_mapped
from huajuan.postgres.statements import Statements

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


class StreamReader:
    """Reads single streams and events, in one query a call. Raises `DatabaseUnavailable`."""

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
    with failures_mapped():
        connection = await connect(dsn, 2 * seconds_max, timeout, _ADMINS_LOCK)
    try:
        with failures_mapped():
            accounts = [row[0] for row in await (await connection.execute(_EVER_ADMINS)).fetchall()]
        yield accounts
    finally:
        await connection.close()  # and with it the lock ends
