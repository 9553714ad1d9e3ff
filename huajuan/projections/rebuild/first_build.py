"""Read tables that are not there yet: made empty for an empty log, else built from it before anybody reads them."""

from collections.abc import Callable, Sequence

import psycopg

from huajuan.projections.engine.projection import Projection
from huajuan.projections.engine.schema import PROJECTIONS_LOCK, create_read_tables, is_made
from huajuan.projections.engine.versions import NOTE_USE
from huajuan.projections.rebuild.cleanup import drop_leftovers
from huajuan.projections.rebuild.connections import connection
from huajuan.projections.rebuild.limits import RebuildLimits
from huajuan.projections.rebuild.progress import Progress
from huajuan.projections.rebuild.rebuild import rebuild

_HAS_EVENTS = "SELECT EXISTS (SELECT FROM log.huajuan_events)"


def build_read_tables(
    dsn: str,
    projections: Sequence[Projection],
    say: Callable[[str], None],
    limits: RebuildLimits | None = None,
) -> None:
    """A new version is built while processes that know only the old one serve. Raises `RebuildFailed`."""
    limits = limits or RebuildLimits()
    with connection(dsn) as opened:
        # Before the tables are looked for: so they are either there to stay, or dropped as unused already.
        opened.execute(NOTE_USE.encode(), {"schemas": [projection.schema for projection in projections]})
        drop_leftovers(opened, projections, limits)
        if not _missing(opened, projections):
            return
        # Whoever starts at the same time waits for the tables.
        opened.execute("SELECT pg_advisory_lock(%s)", (_BUILDING_LOCK,))
        missing = _missing(opened, projections)
        if missing and _has_events(opened):
            say(f"building {', '.join(projection.schema for projection in missing)} from the log")
            rebuild(dsn, missing, limits, _Saying(say))
    create_read_tables(dsn, projections)


# Not the one that making them takes, for that is taken inside.
_BUILDING_LOCK = PROJECTIONS_LOCK + 1_000


def _missing(opened: psycopg.Connection, projections: Sequence[Projection]) -> list[Projection]:
    return [projection for projection in projections if not is_made(opened, projection)]


def _has_events(opened: psycopg.Connection) -> bool:
    row = opened.execute(_HAS_EVENTS).fetchone()
    return bool(row and row[0])


class _Saying:
    """A line for each tenth of the way."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._tenths = 0

    def __call__(self, progress: Progress) -> None:
        tenths = 10 * progress.position // max(1, progress.head)
        if tenths > self._tenths:
            self._tenths = tenths
            self._say(f"{progress.position:,} of {progress.head:,} events folded")
