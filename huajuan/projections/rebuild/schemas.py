"""Schemas of the read tables: created empty or built from the log, and dropped when no process needs them."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

import msgspec
import psycopg
import structlog
from psycopg import sql
from psycopg.conninfo import make_conninfo

from huajuan.postgres.connect import connect_blocking
from huajuan.postgres.statements import Statements
from huajuan.projections.engine.projection import Projection
from huajuan.projections.rebuild.new_tables import new_schema, old_schema
from huajuan.projections.rebuild.rebuild import rebuild_tables
from huajuan.projections.rebuild.session import (
    AlreadyRebuilding,
    OnProgress,
    RebuildLimits,
    RebuildProgress,
    connection,
    drop_schemas,
    exclusive,
    mark_dead_rebuilds,
)

PROJECTIONS_LOCK = 4713
_MISSING = """
SELECT wanted.schema FROM unnest(%s::text[], %s::text[]) AS wanted (schema, name)
 WHERE to_regclass(wanted.name) IS NULL
    OR NOT EXISTS (SELECT FROM operations.checkpoints c WHERE c.projection = wanted.schema)
"""
_CHECKPOINT = "INSERT INTO operations.checkpoints (projection) VALUES (%s) ON CONFLICT DO NOTHING"
RECORD_USE = """
INSERT INTO operations.tables_in_use (schema, seen_at)
SELECT used, now() FROM unnest(%(schemas)s::text[]) used
ON CONFLICT (schema) DO UPDATE SET seen_at = now()
"""
_UNUSED = """
SELECT c.projection
  FROM operations.checkpoints c LEFT JOIN operations.tables_in_use u ON u.schema = c.projection
 WHERE c.projection = ANY(%(older)s)
   AND greatest(u.seen_at, c.moved_at) < now() - make_interval(hours => 1) * %(hours)s
"""
DROP_UNUSED = "SELECT operations.drop_unused_version(%(schema)s, %(hours)s)"
_HAS_EVENTS = "SELECT EXISTS (SELECT FROM log.huajuan_events)"
# Another one than `PROJECTIONS_LOCK`, which is taken while this one is held.
_BUILD_LOCK = PROJECTIONS_LOCK + 1_000
_EXISTING_SCHEMAS = "SELECT nspname FROM pg_namespace WHERE nspname = ANY(%s)"
_NOT_ENDED = "SELECT DISTINCT unnest(projections) FROM operations.rebuilds WHERE outcome IS NULL"
_logger = structlog.get_logger(__name__)


def create_read_tables(dsn: str, projections: Sequence[Projection]) -> None:
    """Creates missing tables, empty. Any number of processes may call it at the same time."""
    with connect_blocking(dsn, autocommit=False) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (PROJECTIONS_LOCK,))
        for projection in _missing(connection, projections):
            schema = sql.Identifier(projection.schema)
            connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(schema))
            connection.execute(sql.SQL("SET LOCAL search_path = {}").format(schema))
            for statement in (projection.table.ddl, *projection.table.index_ddl):
                connection.execute(statement.encode())
            connection.execute(_CHECKPOINT, (projection.schema,))


def _missing(opened: psycopg.Connection, projections: Sequence[Projection]) -> list[Projection]:
    """One transaction creates a table with its indexes. CREATE … IF NOT EXISTS would wait for writers."""
    tables = [f"{projection.schema}.{projection.table.name}" for projection in projections]
    schemas = [projection.schema for projection in projections]
    missing = {schema for (schema,) in opened.execute(_MISSING, (schemas, tables)).fetchall()}
    return [projection for projection in projections if projection.schema in missing]


def build_read_tables(
    dsn: str,
    projections: Sequence[Projection],
    log: Callable[[str], None],
    limits: RebuildLimits | None = None,
) -> None:
    """Processes that know only an older version go on serving it. Raises `RebuildFailed`."""
    limits = limits or RebuildLimits()
    with connection(dsn) as opened:
        # Before the check for missing tables: a version in use is not dropped after the check.
        opened.execute(RECORD_USE.encode(), {"schemas": [projection.schema for projection in projections]})
        remove_remains(opened, projections, limits)
        if not _missing(opened, projections):
            return
        # Processes that start at the same time wait here for the tables.
        opened.execute("SELECT pg_advisory_lock(%s)", (_BUILD_LOCK,))
        missing = _missing(opened, projections)
        if missing and (True,) in opened.execute(_HAS_EVENTS).fetchall():
            log(f"building {', '.join(projection.schema for projection in missing)} from the log")
            rebuild_tables(dsn, missing, limits, _log_progress(log))
    create_read_tables(dsn, projections)


def _log_progress(log: Callable[[str], None]) -> OnProgress:
    """Logs a line for each tenth of the events."""
    logged = 0

    def on_progress(progress: RebuildProgress) -> None:
        nonlocal logged
        tenths = 10 * progress.position // max(1, progress.head)
        if tenths > logged:
            logged = tenths
            log(f"{progress.position:,} of {progress.head:,} events folded")

    return on_progress


async def clean_up_rebuilds(dsn: str, projections: Sequence[Projection], limits: RebuildLimits) -> None:
    """To be called periodically, in a thread."""
    await asyncio.to_thread(_clean_up, dsn, projections, limits)


def _clean_up(dsn: str, projections: Sequence[Projection], limits: RebuildLimits) -> None:
    """Every step has a time limit, because a service that stops waits for its threads."""
    seconds = max(1, round(limits.leftovers_seconds_max))
    bounded = make_conninfo(dsn, connect_timeout=seconds, tcp_user_timeout=seconds * 1000)
    with connection(bounded) as opened:
        opened.execute(f"SET statement_timeout = {seconds * 1000}".encode())
        remove_remains(opened, projections, limits)


def remove_remains(
    opened: psycopg.Connection, projections: Sequence[Projection], limits: RebuildLimits
) -> None:
    """Skips tables that are being rebuilt, and stops at the first schema that is still being read."""
    once = msgspec.structs.replace(limits, drop_tries_max=1)
    for projection, schemas in _find_remains(opened, projections):
        with suppress(AlreadyRebuilding), exclusive(opened, [projection]):
            mark_dead_rebuilds(opened, [projection])
            if drop_schemas(opened, schemas, once):
                return


def _find_remains(
    opened: psycopg.Connection, projections: Sequence[Projection]
) -> Iterator[tuple[Projection, list[str]]]:
    """Projections that may have remains, and the schemas to drop."""
    names = [name(projection) for projection in projections for name in (new_schema, old_schema)]
    existing = {schema for (schema,) in opened.execute(_EXISTING_SCHEMAS, (names,)).fetchall()}
    not_ended = {schema for (schema,) in opened.execute(_NOT_ENDED).fetchall()}
    for projection in projections:
        schemas = [name for name in (new_schema(projection), old_schema(projection)) if name in existing]
        if schemas or projection.schema in not_ended:
            yield projection, schemas


async def record_use(statements: Statements, projections: Sequence[Projection]) -> None:
    """Records that this process serves these versions of the tables."""
    await statements.run(RECORD_USE, {"schemas": [projection.schema for projection in projections]})


async def drop_unused_versions(
    statements: Statements, projections: Sequence[Projection], hours: float
) -> list[str]:
    """Drops older versions of these that no process has used for `hours`, and returns their schemas."""
    older = [schema for projection in projections for schema in projection.older_schemas]
    unused = [s for (s,) in await statements.run(_UNUSED, {"older": older, "hours": hours})] if older else []
    return [schema for schema in unused if await _drop(statements, schema, hours)]


async def _drop(statements: Statements, schema: str, hours: float) -> bool:
    ((is_dropped,),) = await statements.run(DROP_UNUSED, {"schema": schema, "hours": hours})
    if is_dropped:
        _logger.info("dropped an unused version", schema=schema)
    return bool(is_dropped)


async def maintain_versions(
    statements: Statements, projections: Sequence[Projection], unused_hours: float
) -> None:
    """To be called periodically: record the use of the current versions and drop unused ones."""
    await record_use(statements, projections)
    await drop_unused_versions(statements, projections, unused_hours)
