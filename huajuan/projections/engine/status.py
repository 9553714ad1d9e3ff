"""The status of the read tables: position, lag, leader, failing event, skips and rebuilds."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec

from huajuan.event_store.stream_ids import StreamIds
from huajuan.projections.engine.checkpoints import CHECKPOINTS, LAG, RATE_SECONDS
from huajuan.projections.engine.notifications import SERVING
from huajuan.projections.engine.projection import Projection
from huajuan.projections.engine.skips import SKIPS, TOPIC, decode_skips
from huajuan.projections.engine.table import ReadTables

# The outcomes of a rebuild. A failed one also has its reason, and a `SWAPPED` one the outcome of its
# comparison.
OUTCOMES = DONE, CANCELLED, DIED, SWAPPED = ("done", "cancelled", "died", "swapped, not compared")


class SkippedEvent(msgspec.Struct, frozen=True):
    """An event that the read table leaves out."""

    position: int
    event: str
    reason: str
    skipped_at: datetime


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


class CheckpointStatus(msgspec.Struct, frozen=True):
    """`stopped_by` is the name of an exception, `stopped_event` the topic of the event at `stopped_at`."""

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


class ProjectionStatus(CheckpointStatus, frozen=True, kw_only=True):
    """`ignored_skips` are positions that were skipped for an older version only."""

    name: str
    version: int
    skips: list[SkippedEvent]
    ignored_skips: list[int]
    last_rebuild: RebuildStatus | None


class LogCounts(msgspec.Struct, frozen=True):
    """The last position of the log, and the number of images being drawn."""

    log_position: int
    jobs_open: int


class _CheckpointRow(CheckpointStatus, frozen=True):
    schema: str


class _SkipRow(msgspec.Struct):
    stream: object
    version: int
    topic: str
    state: bytes


class _RebuildRow(msgspec.Struct):
    schema: str
    rebuild: str


class _Value(msgspec.Struct):
    value: Any


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
    schemas = [projection.schema for projection in projections]
    rows = {row.schema: row for row in await tables.all(_CheckpointRow, _STATUSES, {"schemas": schemas})}
    rebuilds = await _last_rebuilds(tables, schemas)
    skips = await _skips(tables, ids, [s for p in projections for s in (p.schema, *p.older_schemas)])
    return [_status(p, rows[p.schema], skips, rebuilds) for p in projections if p.schema in rows]


async def serving_processes(tables: ReadTables) -> list[str]:
    """The processes that serve this database now, on any machine."""
    return [row.value for row in await tables.all(_Value, _SERVING, {"serving": SERVING})]


async def was_rebuild_started(tables: ReadTables, requested_at_position: int) -> bool:
    """Whether the rebuild that an event at this position requested was ever started."""
    found = await tables.one(_Value, _IS_STARTED, {"requested_at_position": requested_at_position})
    return found is not None and bool(found.value)


async def log_counts(tables: ReadTables) -> LogCounts:
    return (await tables.all(LogCounts, _COUNTS))[0]


async def _last_rebuilds(tables: ReadTables, schemas: Iterable[str]) -> dict[str, RebuildStatus]:
    """By schema; a table that was never rebuilt is missing."""
    found = await tables.all(_RebuildRow, _LAST_REBUILDS, {"schemas": list(schemas)})
    return {row.schema: _decode(row.rebuild) for row in found}


async def _skips(tables: ReadTables, ids: StreamIds, schemas: list[str]) -> dict[str, list[SkippedEvent]]:
    values = {"streams": [ids.read_table(schema) for schema in schemas], "topic": TOPIC}
    found = decode_skips(msgspec.structs.astuple(r) for r in await tables.all(_SkipRow, SKIPS, values))
    by_schema: dict[str, list[SkippedEvent]] = {schema: [] for schema in schemas}
    for skip in found:
        skipped = SkippedEvent(skip.position, skip.topic, skip.reason, skip.timestamp)
        by_schema[skip.projection].append(skipped)
    return by_schema


def _status(
    projection: Projection,
    row: _CheckpointRow,
    skips: dict[str, list[SkippedEvent]],
    rebuilds: dict[str, RebuildStatus],
) -> ProjectionStatus:
    checkpoint = {k: v for k, v in msgspec.structs.asdict(row).items() if k != "schema"}
    return ProjectionStatus(
        name=projection.name,
        version=projection.version,
        skips=skips[projection.schema],
        ignored_skips=sorted(s.position for old in projection.older_schemas for s in skips[old]),
        last_rebuild=rebuilds.get(projection.schema),
        **checkpoint,
    )
