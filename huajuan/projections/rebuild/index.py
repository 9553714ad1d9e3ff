"""Adds keys, indexes and planner statistics to full new tables, several at a time."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from psycopg import sql

from huajuan.projections.engine.projection import Projection
from huajuan.projections.rebuild.new_tables import new_schema
from huajuan.projections.rebuild.session import RebuildLimits, connection

STATISTICS_TARGET = 20


def create_indexes(
    dsn: str, projections: Sequence[Projection], unkeyed: Sequence[Projection], limits: RebuildLimits
) -> None:
    """Creating an index on a full table is faster than inserting into an indexed one.

    Indexes of one table are created side by side, each on a connection of its own.
    """

    def run(job: tuple[Projection, str]) -> None:
        projection, statement = job
        with connection(dsn, niced=True) as opened:
            opened.execute(f"SET maintenance_work_mem = '{limits.index_memory_mb}MB'".encode())
            opened.execute(f"SET default_statistics_target = {STATISTICS_TARGET}".encode())
            opened.execute(sql.SQL("SET search_path = {}").format(sql.Identifier(new_schema(projection))))
            opened.execute(statement.encode())

    indexes = [(p, ddl) for p in projections for ddl in p.table.index_ddl]
    # The index for the word search takes longest, so it begins first.
    indexes.sort(key=lambda job: "USING gin" not in job[1])
    with ThreadPoolExecutor(limits.indexes_at_once_max) as threads:
        list(threads.map(run, [(p, p.table.key_ddl) for p in unkeyed]))
        list(threads.map(run, indexes))
        # A rough sample for the planner; autovacuum soon takes a better one.
        list(threads.map(run, [(p, f"ANALYZE {p.table.name}") for p in projections]))
