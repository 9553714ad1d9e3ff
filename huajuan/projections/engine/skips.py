"""Skips: the events that a read table leaves out because an admin said so, as the log has them on record."""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

import structlog
from eventsourcing.persistence import StoredEvent
from psycopg import AsyncConnection, Connection

from huajuan.domain.read_table import ReadTable
from huajuan.event_store.errors import LogUnavailable
from huajuan.event_store.installation import stream_ids, stream_ids_at_once
from huajuan.event_store.mapper import EventMapper
from huajuan.postgres.connect import connect
from huajuan.postgres.retry import OUTAGES
from huajuan.projections.engine.projection import NO_SKIPS, Projection, Skips

_logger = structlog.get_logger(__name__)
# Values are `streams`, ids cut from the names of the tables, and `topic`.
SKIPS = """
SELECT originator_id, originator_version, topic, state FROM log.huajuan_events
 WHERE originator_id = ANY(%(streams)s::uuid[]) AND topic = %(topic)s ORDER BY originator_id, originator_version
"""
_STREAMS = "SELECT DISTINCT originator_id FROM log.huajuan_events WHERE notification_id = ANY(%b)"
_STOPPED_AT = """
SELECT c.stopped_at, e.topic FROM operations.checkpoints c
  LEFT JOIN log.huajuan_events e ON e.notification_id = c.stopped_at
 WHERE c.projection = %b FOR UPDATE OF c
"""
TOPIC = ReadTable.EventSkipped.TOPIC
# Nothing in these facts is sealed.
_read = EventMapper(keys={}).to_domain_event


async def skipped(connection: AsyncConnection, projection: Projection) -> Skips:
    """What this version of the projection leaves out, live and in a rebuild."""
    positions = await _positions(connection, [projection.schema])
    if not positions:
        return NO_SKIPS
    cursor = await connection.execute(_STREAMS, (list(positions),), binary=True)
    return Skips(positions, frozenset(stream for (stream,) in await cursor.fetchall()))


async def ignored(connection: AsyncConnection, projection: Projection) -> frozenset[int]:
    """Positions skipped for an older version: a newer fold may know better, so it does not heed them."""
    return await _positions(connection, older_schemas(projection))


def older_schemas(projection: Projection) -> list[str]:
    return [f"{projection.name}_v{version}" for version in range(1, projection.version)]


def read_skips(rows: Iterable[tuple[object, ...]]) -> list[ReadTable.EventSkipped]:
    """What `SKIPS` found."""
    return [_read(StoredEvent(*row)) for row in rows]  # type: ignore[arg-type]


async def _positions(connection: AsyncConnection, schemas: Sequence[str]) -> frozenset[int]:
    if not schemas:
        return frozenset()
    ids = await stream_ids(connection)
    values = {"streams": [ids.read_table(schema) for schema in schemas], "topic": TOPIC}
    cursor = await connection.execute(SKIPS.encode(), values, binary=True)
    return frozenset(skip.position for skip in read_skips(await cursor.fetchall()))


def skips_on_record(connection: Connection, projections: Iterable[Projection]) -> dict[str, Skips]:
    """For a rebuild: by the projections' schemas."""
    ids = stream_ids_at_once(connection)
    found = {}
    for projection in projections:
        values = {"streams": [ids.read_table(projection.schema)], "topic": TOPIC}
        rows = connection.execute(SKIPS.encode(), values, binary=True).fetchall()
        positions = frozenset(skip.position for skip in read_skips(rows))
        streams = connection.execute(_STREAMS, (list(positions),), binary=True).fetchall()
        found[projection.schema] = Skips(positions, frozenset(stream for (stream,) in streams))
    return found


class NotStoppedThere(Exception):
    """The projection is not stopped, or is stopped elsewhere."""


@asynccontextmanager
async def stopped_there(
    dsn: str, projection: Projection, position: int, seconds_max: float
) -> AsyncIterator[str]:
    """While the projection stays stopped at `position`, since nobody can lead it meanwhile: the event's topic.

    Raises `NotStoppedThere`, and `LogUnavailable` when its row is not to be had.
    """
    timeout = f"SET statement_timeout = {round(seconds_max * 1000)}"
    is_done = False
    try:
        async with await connect(dsn, seconds_max, timeout) as connection, connection.transaction():
            cursor = await connection.execute(_STOPPED_AT, (projection.schema,))
            stopped_at, topic = await cursor.fetchone() or (None, None)
            if stopped_at != position:
                raise NotStoppedThere
            yield topic or ""
            is_done = True
    except OUTAGES as error:
        if not is_done:
            raise LogUnavailable from error
        _logger.warning("connection lost after a skip", error=type(error).__name__)
