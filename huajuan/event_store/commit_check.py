"""Answers, after an outage, whether a save's own rows are in the log."""

from collections.abc import Sequence

import psycopg
from eventsourcing.persistence import StoredEvent

_SELECT = """
SELECT n.i, e.notification_id
  FROM unnest(%b::uuid[], %b::bigint[], %b::text[], %b::bytea[])
       WITH ORDINALITY AS n(stream, version, topic, state, i)
  JOIN log.huajuan_events e ON e.originator_id = n.stream AND e.originator_version = n.version
       AND e.topic = n.topic AND e.state = n.state
 ORDER BY n.i
"""


async def stored_positions(
    connection: psycopg.AsyncConnection, rows: Sequence[StoredEvent]
) -> list[int] | None:
    """The positions of `rows` if each is stored byte for byte, else `None`."""
    columns = (
        [row.originator_id for row in rows],
        [row.originator_version for row in rows],
        [row.topic for row in rows],
        [row.state for row in rows],
    )
    found = await (await connection.execute(_SELECT, columns, prepare=True)).fetchall()
    return [position for _, position in found] if len(found) == len(rows) else None
