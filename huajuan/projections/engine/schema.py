"""Makes the schemas, tables and checkpoints of the projections, once, however many processes start."""

from collections.abc import Iterable

import psycopg
from psycopg import sql

from huajuan.postgres.connect import connect_blocking
from huajuan.projections.engine.projection import Projection

PROJECTIONS_LOCK = 4713
_IS_MADE = """
SELECT EXISTS (SELECT FROM operations.checkpoints WHERE projection = %s) AND to_regclass(%s) IS NOT NULL
"""
_CHECKPOINT = "INSERT INTO operations.checkpoints (projection) VALUES (%s) ON CONFLICT DO NOTHING"


def create_read_tables(dsn: str, projections: Iterable[Projection]) -> None:
    """Empty ones, on a database whose log schema is made."""
    with connect_blocking(dsn, autocommit=False) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (PROJECTIONS_LOCK,))
        for projection in projections:
            if not is_made(connection, projection):
                _create(connection, projection)


def is_made(connection: psycopg.Connection, projection: Projection) -> bool:
    """Whole, since it is made in one transaction. Asking again for its indexes would wait for whoever writes."""
    table = f"{projection.schema}.{projection.table.name}"
    row = connection.execute(_IS_MADE, (projection.schema, table)).fetchone()
    return bool(row and row[0])


def _create(connection: psycopg.Connection, projection: Projection) -> None:
    schema = sql.Identifier(projection.schema)
    connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(schema))
    connection.execute(sql.SQL("SET LOCAL search_path = {}").format(schema))
    for statement in (projection.table.ddl, *projection.table.index_ddl):
        connection.execute(statement.encode())
    connection.execute(_CHECKPOINT, (projection.schema,))
