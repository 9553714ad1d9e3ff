"""The status of the read tables, whole: how far, how fast, who leads, what stopped it, skips and rebuilds."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from huajuan.event_store.stream_ids import StreamIds
from huajuan.projections.engine.checkpoints import CHECKPOINTS, LAG, RATE_SECONDS
from huajuan.projections.engine.process_name import SERVING
from huajuan.projections.engine.projection import Projection
from huajuan.projections.engine.rebuild_status import IS_REBUILDING, Rebuild, last_rebuilds
from huajuan.projections.engine.skips import SKIPS, TOPIC, older_schemas, read_skips
from huajuan.projections.queries.read_tables import ReadTables


class Skip(msgspec.Struct, frozen=True):
    """An event that is left out."""

    position: int
    event: str
    reason: str
    skipped_at: datetime


class Measured(msgspec.Struct, frozen=True):
    """`stopped_by` is an exception's kind, `stopped_event` the kind of the event at `stopped_at`."""

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


class Status(Measured, frozen=True, kw_only=True):
    """`ignored_skips` are positions skipped for an older version: this one folds them."""

    name: str
    version: int
    skips: list[Skip]
    ignored_skips: list[int]
    last_rebuild: Rebuild | None


class _Row(Measured, frozen=True):
    schema: str


class _Stored(msgspec.Struct):
    stream: object
    version: int
    topic: str
    state: bytes


class _Process(msgspec.Struct):
    name: str


_STATUSES = f"""
SELECT c.position, {LAG},
       c.rate * exp(-least(greatest(extract(epoch FROM now() - c.moved_at)::float8, 0) / {RATE_SECONDS}, 50)),
       c.leader, c.moved_at, c.stopped_at, c.stopped_by, culprit.topic, {IS_REBUILDING}, c.projection
  FROM {CHECKPOINTS} LEFT JOIN log.huajuan_events culprit ON culprit.notification_id = c.stopped_at
 WHERE c.projection = ANY(%(schemas)s)
"""
_SERVING = """
SELECT split_part(application_name, ' ', -1) FROM pg_stat_activity
 WHERE datname = current_database() AND starts_with(application_name, %(serving)s) ORDER BY 1
"""


async def statuses(tables: ReadTables, ids: StreamIds, projections: Sequence[Projection]) -> list[Status]:
    """Of these projections, in their order, as far as their tables are made."""
    rows = {
        r.schema: r for r in await tables.all(_Row, _STATUSES, {"schemas": [p.schema for p in projections]})
    }
    rebuilds = await last_rebuilds(tables, projections)
    skips = await _skips(tables, ids, [s for p in projections for s in (p.schema, *older_schemas(p))])
    return [_status(p, rows[p.schema], skips, rebuilds) for p in projections if p.schema in rows]


async def serving(tables: ReadTables) -> list[str]:
    """The processes that serve this database now, on whatever machine."""
    found = await tables.all(_Process, _SERVING, {"serving": SERVING})
    return [process.name for process in found]


async def _skips(tables: ReadTables, ids: StreamIds, schemas: list[str]) -> dict[str, list[Skip]]:
    values = {"streams": [ids.read_table(schema) for schema in schemas], "topic": TOPIC}
    found = read_skips(msgspec.structs.astuple(r) for r in await tables.all(_Stored, SKIPS, values))
    by_schema: dict[str, list[Skip]] = {schema: [] for schema in schemas}
    for skip in found:
        shown = Skip(skip.position, skip.topic, skip.reason, skip.timestamp)
        by_schema[skip.projection].append(shown)
    return by_schema


def _status(
    projection: Projection, row: _Row, skips: dict[str, list[Skip]], rebuilds: dict[str, Rebuild]
) -> Status:
    measured = {k: v for k, v in msgspec.structs.asdict(row).items() if k != "schema"}
    return Status(
        name=projection.name,
        version=projection.version,
        skips=skips[projection.schema],
        ignored_skips=sorted(s.position for old in older_schemas(projection) for s in skips[old]),
        last_rebuild=rebuilds.get(projection.schema),
        **measured,
    )
