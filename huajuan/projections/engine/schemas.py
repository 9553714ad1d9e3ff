"""Schemas of the read tables: creates them, records which versions are in use, and drops unused versions."""

from collections.abc import Iterable, Sequence

import psycopg
import structlog
from psycopg import sql

from huajuan.postgres.connect import connect_blocking
from huajuan.postgres.statements import Statements
from huajuan.projections.engine.projection import Projection

PROJECTIONS_LOCK = 4713
_EXISTS = """
SELECT EXISTS (SELECT FROM operations.checkpoints WHERE projection = %s) AND to_regclass(%s) IS NOT NULL
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
_logger = structlog.get_logger(__name__)


def create_read_tables(dsn: str, projections: Iterable[Projection]) -> None:
    """Creates missing tables, empty. Any number of processes may call it at the same time."""
    with connect_blocking(dsn, autocommit=False) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (PROJECTIONS_LOCK,))
        for projection in projections:
            if not read_table_exists(connection, projection):
                _create(connection, projection)


def read_table_exists(connection: psycopg.Connection, projection: Projection) -> bool:
    """With its indexes: one transaction creates all. CREATE … IF NOT EXISTS would wait for writers."""
    table = f"{projection.schema}.{projection.table.name}"
    row = connection.execute(_EXISTS, (projection.schema, table)).fetchone()
    return bool(row and row[0])


def _create(connection: psycopg.Connection, projection: Projection) -> None:
    schema = sql.Identifier(projection.schema)
    connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(schema))
    connection.execute(sql.SQL("SET LOCAL search_path = {}").format(schema))
    for statement in (projection.table.ddl, *projection.table.index_ddl):
        connection.execute(statement.encode())
    connection.execute(_CHECKPOINT, (projection.schema,))


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
