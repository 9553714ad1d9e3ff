"""Creates missing read tables: empty for an empty log, else built from the log before they are served."""

from collections.abc import Callable, Sequence

import psycopg

from huajuan.projections.engine.projection import Projection
from huajuan.projections.engine.schemas import (
    PROJECTIONS_LOCK,
    RECORD_USE,
    create_read_tables,
    read_table_exists,
)
from huajuan.projections.rebuild.cleanup import remove_remains
from huajuan.projections.rebuild.rebuild import rebuild_tables
from huajuan.projections.rebuild.records import RebuildProgress
from huajuan.projections.rebuild.session import RebuildLimits, connection

_HAS_EVENTS = "SELECT EXISTS (SELECT FROM log.huajuan_events)"
# Another one than `PROJECTIONS_LOCK`, which is taken while this one is held.
_BUILD_LOCK = PROJECTIONS_LOCK + 1_000


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
        if missing and _has_events(opened):
            log(f"building {', '.join(projection.schema for projection in missing)} from the log")
            rebuild_tables(dsn, missing, limits, _ProgressLog(log))
    create_read_tables(dsn, projections)


def _missing(opened: psycopg.Connection, projections: Sequence[Projection]) -> list[Projection]:
    return [projection for projection in projections if not read_table_exists(opened, projection)]


def _has_events(opened: psycopg.Connection) -> bool:
    row = opened.execute(_HAS_EVENTS).fetchone()
    return bool(row and row[0])


class _ProgressLog:
    """Logs a line for each tenth of the events."""

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log = log
        self._tenths = 0

    def __call__(self, progress: RebuildProgress) -> None:
        tenths = 10 * progress.position // max(1, progress.head)
        if tenths > self._tenths:
            self._tenths = tenths
            self._log(f"{progress.position:,} of {progress.head:,} events folded")
