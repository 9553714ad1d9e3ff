"""Skips: events that a read table leaves out by decision of an admin. Skips are events of the log as well."""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

import structlog
from eventsourcing.persistence import StoredEvent
from psycopg import AsyncConnection, Connection

from huajuan.domain.read_table import ReadTable
from huajuan.event_store.errors import DatabaseUnavailable
from huajuan.event_store.mapper import EventMapper
from huajuan.event_store.stream_ids import load_stream_ids, load_stream_ids_blocking
from huajuan.postgres.connect import connect
from huajuan.postgres.errors import OUTAGES
from huajuan.projections.engine.projection import NO_SKIPS, Projection, Skips

_logger = structlog.get_logger(__name__)
# Values: `streams`, the ids of the tables' streams, and `topic`.
SKIPS = """
SELECT originator_id, originator_version, topic, state FROM log.huajuan_events
 WHERE originator_id = ANY(%(streams)s::uuid[]) AND topic = %(topic)s
 ORDER BY originator_id, originator_version
"""
_STREAMS = "SELECT DISTINCT originator_id FROM log.huajuan_events WHERE notification_id = ANY(%b)"
_STOPPED_AT = """
SELECT c.stopped_at, e.topic FROM operations.checkpoints c
  LEFT JOIN log.huajuan_events e ON e.notification_id = c.stopped_at
 WHERE c.projection = %b FOR UPDATE OF c
"""
TOPIC = ReadTable.EventSkipped.TOPIC
# These events have no encrypted fields.
_decode = EventMapper(keys={}).to_domain_event


async def load_skips(connection: AsyncConnection, projection: Projection) -> Skips:
    """The skips of this version of the projection."""
    positions = await _positions(connection, [projection.schema])
    if not positions:
        return NO_SKIPS
    cursor = await connection.execute(_STREAMS, (list(positions),), binary=True)
    return Skips(positions, frozenset(stream for (stream,) in await cursor.fetchall()))


async def skips_of_older_versions(connection: AsyncConnection, projection: Projection) -> frozenset[int]:
    """Positions skipped for an older version. They are ignored, because the newer fold may be corrected."""
    return await _positions(connection, projection.older_schemas)


def decode_skips(rows: Iterable[tuple[object, ...]]) -> list[ReadTable.EventSkipped]:
    """The events in the rows of `SKIPS`."""
    return [_decode(StoredEvent(*row)) for row in rows]  # type: ignore[arg-type]


async def _positions(connection: AsyncConnection, schemas: Sequence[str]) -> frozenset[int]:
    if not schemas:
        return frozenset()
    ids = await load_stream_ids(connection)
    values = {"streams": [ids.read_table(schema) for schema in schemas], "topic": TOPIC}
    cursor = await connection.execute(SKIPS.encode(), values, binary=True)
    return frozenset(skip.position for skip in decode_skips(await cursor.fetchall()))


def load_all_skips(connection: Connection, projections: Iterable[Projection]) -> dict[str, Skips]:
    """For a rebuild: the skips of each projection, by schema."""
    ids = load_stream_ids_blocking(connection)
    found = {}
    for projection in projections:
        values = {"streams": [ids.read_table(projection.schema)], "topic": TOPIC}
        rows = connection.execute(SKIPS.encode(), values, binary=True).fetchall()
        positions = frozenset(skip.position for skip in decode_skips(rows))
        streams = connection.execute(_STREAMS, (list(positions),), binary=True).fetchall()
        found[projection.schema] = Skips(positions, frozenset(stream for (stream,) in streams))
    return found


class NotStoppedAtPosition(Exception):
    """The projection is not stopped, or is stopped at another position."""


@asynccontextmanager
async def held_at_stop(
    dsn: str, projection: Projection, position: int, seconds_max: float
) -> AsyncIterator[str]:
    """Locks the checkpoint of a projection that is stopped at `position`; yields the topic of the event
    there.

    Raises `NotStoppedAtPosition`, and `DatabaseUnavailable` if the lock cannot be acquired within
    `seconds_max`.
    """
    timeout = f"SET statement_timeout = {round(seconds_max * 1000)}"
    is_done = False
    try:
        async with await connect(dsn, seconds_max, timeout) as connection, connection.transaction():
            cursor = await connection.execute(_STOPPED_AT, (projection.schema,))
            stopped_at, topic = await cursor.fetchone() or (None, None)
            if stopped_at != position:
                raise NotStoppedAtPosition
            yield topic or ""
            is_done = True
    except OUTAGES as error:
        if not is_done:
            raise DatabaseUnavailable from error
        _logger.warning("connection lost after a skip", error=type(error).__name__)
