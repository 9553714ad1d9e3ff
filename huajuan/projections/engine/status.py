"""The status of the read tables: position, lag, leader, failing event, skips and rebuilds."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from huajuan.event_store.stream_ids import StreamIds
from huajuan.projections.engine.checkpoints import (
    CHECKPOINTS,
    LAG,
    RATE_SECONDS,
    SkippedEvent,
    list_skips,
)
from huajuan.projections.engine.notifications import SERVING
from huajuan.projections.engine.projection import Projection
from huajuan.projections.engine.table import ReadTables

# The outcomes of a rebuild. A failed one also has its reason, and a `SWAPPED` one the outcome of its
# comparison.
OUTCOMES = DONE, CANCELLED, DIED, SWAPPED = ("done", "cancelled", "died", "swapped, not compared")


class RebuildStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A rebuild that has read the log up to `position` of `head`.

    `differences` are the differences between old and new tables, as the rebuild recorded them.
    """

    started_at: datetime
    moved_at: datetime | None = None
    ended_at: datetime | None = None
    position: int | None = None
    head: int | None = None
    events_per_second: float | None = None
    outcome: str | None = None
    differences: Any = None


class ProjectionStatus(msgspec.Struct, frozen=True):
    """`stopped_by` is the name of an exception, `stopped_event` the topic of the event at `stopped_at`.

    `ignored_skips` are positions that were skipped for an older version only.
    """

    position: int
    lag_events: int
    lag_seconds: float
    events_per_second: float
    leader: str | None
    moved_at: datetime
    stopped_at: int | None
    stopped_by: str | None
    stopped_event: str | None
    rebuilding: bool
    name: str
    version: int
    skips: list[SkippedEvent]
    ignored_skips: list[int]
    last_rebuild: RebuildStatus | None


class LogCounts(msgspec.Struct, frozen=True):
    """The last position of the log, and the number of images being drawn."""

    log_position: int
    jobs_open: int


# True if a rebuild of the table of checkpoint row `c` holds its advisory lock. The lock is looked up, because
# trying to take it would refuse a rebuild that begins at the same time.
_IS_REBUILDING = """
EXISTS (SELECT FROM pg_locks l, (SELECT hashtext('huajuan rebuild ' || c.projection)::int8 AS key) wanted
         WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted
           AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
           AND l.classid::int8 = (wanted.key >> 32) & 4294967295
           AND l.objid::int8 = wanted.key & 4294967295)"""
_STATUSES = f"""
SELECT c.position, {LAG},
       c.rate * exp(-least(greatest(extract(epoch FROM now() - c.moved_at)::float8, 0) / {RATE_SECONDS}, 50)),
       c.leader, c.moved_at, c.stopped_at, c.stopped_by, failing.topic, {_IS_REBUILDING}, c.projection
  FROM {CHECKPOINTS} LEFT JOIN log.huajuan_events failing ON failing.notification_id = c.stopped_at
 WHERE c.projection = ANY(%(schemas)s)
"""
_SERVING = """
SELECT split_part(application_name, ' ', -1) FROM pg_stat_activity
 WHERE datname = current_database() AND starts_with(application_name, %(serving)s) ORDER BY 1
"""
_LAST_REBUILDS = """
SELECT wanted.schema, last.rebuild::text FROM unnest(%(schemas)s::text[]) AS wanted(schema)
 CROSS JOIN LATERAL (
       SELECT to_jsonb(r) AS rebuild FROM operations.rebuilds r
        WHERE wanted.schema = ANY(r.projections) ORDER BY r.started_at DESC LIMIT 1) last
"""
_IS_STARTED = """
SELECT EXISTS (SELECT FROM operations.rebuilds WHERE requested_at_position = %(requested_at_position)s)
"""
_COUNTS = """
SELECT coalesce((SELECT max(notification_id) FROM log.huajuan_events), 0),
       (SELECT count(*) FROM operations.job_leases)
"""
_decode = msgspec.json.Decoder(RebuildStatus, strict=False).decode


async def projection_statuses(
    tables: ReadTables, ids: StreamIds, projections: Sequence[Projection]
) -> list[ProjectionStatus]:
    """In the order of `projections`, without those whose tables do not exist yet."""
    values = {"schemas": [projection.schema for projection in projections]}
    rows = {row[-1]: row[:-1] for row in await tables.all(lambda *row: row, _STATUSES, values)}
    rebuilds = dict(await tables.all(lambda schema, row: (schema, _decode(row)), _LAST_REBUILDS, values))
    skips = await list_skips(tables, ids, [s for p in projections for s in (p.schema, *p.older_schemas)])
    found = []
    for projection in projections:
        if row := rows.get(projection.schema):
            skipped = [skip for skip in skips if skip.schema == projection.schema]
            ignored = sorted(skip.position for skip in skips if skip.schema in projection.older_schemas)
            last_rebuild = rebuilds.get(projection.schema)
            columns: list[Any] = [*row, projection.name, projection.version, skipped, ignored, last_rebuild]
            found.append(ProjectionStatus(*columns))
    return found


async def serving_processes(tables: ReadTables) -> list[str]:
    """The processes that serve this database now, on any machine."""
    return await tables.all(str, _SERVING, {"serving": SERVING})


async def was_rebuild_started(tables: ReadTables, requested_at_position: int) -> bool:
    """Whether the rebuild that an event at this position requested was ever started."""
    values = {"requested_at_position": requested_at_position}
    return bool(await tables.one(bool, _IS_STARTED, values))


async def log_counts(tables: ReadTables) -> LogCounts:
    return (await tables.all(LogCounts, _COUNTS))[0]
