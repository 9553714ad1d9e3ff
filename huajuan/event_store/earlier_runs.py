"""Finds in the log what an earlier run of the same request changed."""

from collections.abc import Collection, Iterable
from uuid import UUID

from psycopg_pool import AsyncConnectionPool

from huajuan.event_store.caller import Command

# The mark ends a string of the stored JSON; a quotation mark inside a text would be escaped.
_MARKED = """
SELECT originator_id, max(notification_id) FROM log.huajuan_events
 WHERE originator_id = ANY(%(streams)s) AND notification_id > %(since)s
   AND position(%(mark)s::bytea IN state) > 0
 GROUP BY originator_id
"""

_STREAM = """
SELECT originator_id FROM log.huajuan_events WHERE notification_id = %(position)s AND topic = ANY(%(topics)s)
"""
_POSITION = """
SELECT max(notification_id) FROM log.huajuan_events WHERE originator_id = %(stream)s AND topic = %(topic)s
"""


async def marked_positions(
    pool: AsyncConnectionPool, command: Command, streams: Iterable[UUID]
) -> dict[UUID, int]:
    """The last position of this change of the command's, by stream; empty if it was not made."""
    mark = f'{command.mark}"'.encode()
    values = {"streams": list(streams), "since": command.since, "mark": mark}
    async with pool.connection() as connection:
        # Planned each time: which index is the shorter way depends on how long ago the first run was.
        cursor = await connection.execute(_MARKED, values, prepare=False, binary=True)
        return dict(await cursor.fetchall())


async def stream_at(pool: AsyncConnectionPool, position: int, topics: Collection[str]) -> UUID | None:
    values = {"position": position, "topics": list(topics)}
    async with pool.connection() as connection:
        cursor = await connection.execute(_STREAM, values, binary=True)
        row = await cursor.fetchone()
    return row[0] if row else None


async def position_of(pool: AsyncConnectionPool, stream: UUID, topic: str) -> int:
    async with pool.connection() as connection:
        cursor = await connection.execute(_POSITION, {"stream": stream, "topic": topic}, binary=True)
        row = await cursor.fetchone()
    return row[0] if row and row[0] else 0
