"""Reads single streams of the log as they are told, for those who follow them, and single events by position."""

from typing import Any
from uuid import UUID

from eventsourcing.persistence import StoredEvent

from huajuan.event_store.log_reader import Recorded
from huajuan.event_store.mapper import EventMapper
from huajuan.event_store.personal_keys import KeyRing
from huajuan.postgres.statements import Statements

# The sum keeps the planner from walking the whole log behind a position, whatever it believes of the table.
_AFTER = """
SELECT e.originator_id, e.originator_version, e.topic, e.state, e.notification_id
  FROM log.huajuan_events e
 WHERE e.originator_id = %(stream)s AND e.notification_id + 0 > %(after)s AND e.topic = ANY(%(topics)s::text[])
 ORDER BY e.originator_version
"""
_AT = """
SELECT e.originator_id, e.originator_version, e.topic, e.state, e.notification_id
  FROM log.huajuan_events e WHERE e.notification_id = ANY(%(positions)s::bigint[])
"""
_BEGUN_AT = """
SELECT e.originator_id FROM log.huajuan_events e
 WHERE e.notification_id = %(position)s AND e.topic = %(topic)s
"""
# LATERAL, and newest first, so that one row of the primary key is read for each stream.
_NEWEST = """
SELECT wanted.stream, e.notification_id
  FROM unnest(%(streams)s::uuid[]) AS wanted(stream)
 CROSS JOIN LATERAL (
       SELECT k.notification_id FROM log.huajuan_events k
        WHERE k.originator_id = wanted.stream ORDER BY k.originator_version DESC LIMIT 1) e
"""


class StreamReader:
    """No connection is held between two calls. Raises `LogUnavailable` when Postgres stays away."""

    def __init__(self, statements: Statements, mapper: EventMapper, keys: KeyRing) -> None:
        self._statements = statements
        self._mapper = mapper
        self._keys = keys

    async def after(self, stream: UUID, position: int, topics: frozenset[str]) -> list[Recorded]:
        """The stream's events of these topics behind a position, in order. Streams read so are short."""
        values = {"stream": stream, "after": position, "topics": sorted(topics)}
        return await self._recorded(await self._statements.run(_AFTER, values))

    async def at(self, positions: list[int]) -> list[Recorded]:
        """The events at these positions, in any order."""
        return await self._recorded(await self._statements.run(_AT, {"positions": positions}))

    async def begun_at(self, position: int, topic: str) -> UUID | None:
        """The stream that the event of this topic at this position belongs to, if there is one."""
        rows = await self._statements.run(_BEGUN_AT, {"position": position, "topic": topic})
        return rows[0][0] if rows else None

    async def newest(self, streams: list[UUID]) -> dict[UUID, int]:
        """The position of each stream's last event."""
        return dict(await self._statements.run(_NEWEST, {"streams": streams}))

    async def _recorded(self, rows: list[tuple[Any, ...]]) -> list[Recorded]:
        stored = [(row[4], StoredEvent(*row[:4])) for row in rows]
        await self._keys.need(self._mapper.subjects(event for _, event in stored))
        return [Recorded(at, self._mapper.to_domain_event(event)) for at, event in stored]
