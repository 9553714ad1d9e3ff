"""Keys, indexes and analyzes new tables once they are full, several at a time."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from queue import SimpleQueue

import psycopg
from psycopg import sql

from huajuan.projections.engine.projection import Projection
from huajuan.projections.rebuild.connections import connection
from huajuan.projections.rebuild.limits import RebuildLimits
from huajuan.projections.rebuild.new_tables import new_schema

STATISTICS_TARGET = 20
Job = tuple[Projection, str]


def index(
    dsn: str, projections: Sequence[Projection], unkeyed: Sequence[Projection], limits: RebuildLimits
) -> None:
    """An index grows faster at once than row by row, and those of one table do not wait for each other."""
    indexes = [(p, ddl) for p in projections for ddl in p.table.index_ddl]
    # Searching words takes longest to index, so it goes first.
    indexes.sort(key=lambda job: "USING gin" not in job[1])
    with ExitStack() as stack:
        workers = _Workers(dsn, limits, stack)
        workers.do((p, p.table.key_ddl) for p in unkeyed)
        workers.do(indexes)
        # So that the planner knows them, roughly; the server itself soon looks closer.
        workers.do((p, f"ANALYZE {p.table.name}") for p in projections)


class _Workers:
    """Threads and as many connections, open as long as `stack` is."""

    def __init__(self, dsn: str, limits: RebuildLimits, stack: ExitStack) -> None:
        self._idle: SimpleQueue[psycopg.Connection] = SimpleQueue()
        for _ in range(limits.indexes_at_once_max):
            opened = stack.enter_context(connection(dsn, gently=True))
            opened.execute(f"SET maintenance_work_mem = '{limits.index_memory_mb}MB'".encode())
            opened.execute(f"SET default_statistics_target = {STATISTICS_TARGET}".encode())
            self._idle.put(opened)
        self._threads = stack.enter_context(ThreadPoolExecutor(limits.indexes_at_once_max))

    def do(self, jobs: Iterable[Job]) -> None:
        """All of them, whatever the order in which they end."""
        for done in [self._threads.submit(self._run, *job) for job in jobs]:
            done.result()

    def _run(self, projection: Projection, statement: str) -> None:
        opened = self._idle.get()
        opened.execute(sql.SQL("SET search_path = {}").format(sql.Identifier(new_schema(projection))))
        opened.execute(statement.encode())
        self._idle.put(opened)
