"""Finds in the log what an earlier run of the same request changed."""

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from psycopg_pool import AsyncConnectionPool

from huajuan.event_store.request_context import Command
from huajuan.postgres.retry import through_outages

# The mark ends a string of the stored JSON; a quotation mark inside a text would be escaped.
_MARKED = b"""
SELECT originator_id, max(notification_id) FROM log.huajuan_events
 WHERE originator_id = ANY(%(streams)s) AND notification_id > %(since)s
   AND position(%(mark)s::bytea IN state) > 0
 GROUP BY originator_id
"""
_STREAM = b"""
SELECT originator_id FROM log.huajuan_events WHERE notification_id = %(position)s AND topic = ANY(%(topics)s)
"""
_POSITION = b"""
SELECT max(notification_id) FROM log.huajuan_events WHERE originator_id = %(stream)s AND topic = %(topic)s
"""


class EarlierRuns:
    """Raises `LogUnavailable` when Postgres stays away."""

    def __init__(self, pool: AsyncConnectionPool, outage_seconds_max: float) -> None:
        self._pool = pool
        self._outage_seconds_max = outage_seconds_max

    async def marked(self, command: Command, streams: Iterable[UUID]) -> dict[UUID, int]:
        """The last position of this change of the command's, by stream; empty if it was not made."""
        mark = f'{command.mark}"'.encode()
        return dict(
            await self._rows(_MARKED, {"streams": list(streams), "since": command.since, "mark": mark})
        )

    async def stream_at(self, position: int, *topics: str) -> UUID | None:
        """Whose fact is at this position, if it is of one of these kinds."""
        rows = await self._rows(_STREAM, {"position": position, "topics": list(topics)})
        return rows[0][0] if rows else None

    async def position_of(self, stream: UUID, topic: str) -> int:
        """Of the stream's last fact of this kind; 0 if it has none."""
        rows = await self._rows(_POSITION, {"stream": stream, "topic": topic})
        return rows[0][0] or 0

    async def _rows(self, statement: bytes, values: Mapping[str, Any]) -> list[Any]:
        return await through_outages(lambda: self._asked(statement, values), self._outage_seconds_max)

    async def _asked(self, statement: bytes, values: Mapping[str, Any]) -> list[Any]:
        async with self._pool.connection() as connection:
            # Planned each time: which index is the shorter way depends on how long ago the first run was.
            cursor = await connection.execute(statement, values, prepare=False, binary=True)
            return await cursor.fetchall()
