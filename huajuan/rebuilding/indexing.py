"""Indexes new tables once they are full, several indexes at a time."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from psycopg import sql

from huajuan.projections.projection import Projection
from huajuan.rebuilding.connections import connection
from huajuan.rebuilding.limits import RebuildLimits
from huajuan.rebuilding.new_tables import new_schema


def index(dsn: str, projections: Sequence[Projection], limits: RebuildLimits) -> None:
    """An index grows faster at once than row by row, and those of one table do not wait for each other."""
    jobs = [(new_schema(p), ddl) for p in projections for ddl in p.table.index_ddl]
    # Searching words takes longest to index, so it goes first.
    jobs.sort(key=lambda job: "USING gin" not in job[1])
    with ThreadPoolExecutor(limits.indexes_at_once_max) as workers:
        for done in [workers.submit(_make, dsn, *job, limits.index_memory_mb) for job in jobs]:
            done.result()


def _make(dsn: str, schema: str, ddl: str, memory_mb: int) -> None:
    with connection(dsn, gently=True) as opened:
        opened.execute(sql.SQL("SET search_path = {}").format(sql.Identifier(schema)))
        opened.execute(f"SET maintenance_work_mem = '{memory_mb}MB'".encode())
        opened.execute(ddl.encode())
