"""Remembers each database system's highest timeline, so that a fail-over is noticed and an old primary is refused."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psycopg
import structlog

from huajuan.event_store.errors import StalePrimary
from huajuan.observability.health import Problem

# The name of the WAL file in use begins with the timeline. A checkpoint names the new one only some time after a
# promotion. Both functions are open to every role of a stock PostgreSQL.
_IDENTITY = b"""
SELECT (SELECT system_identifier FROM pg_control_system())::text,
       CASE WHEN NOT pg_is_in_recovery() THEN left(pg_walfile_name(pg_current_wal_lsn()), 8) END
"""
# A role may lack the right, and some managed databases lack the functions.
_UNREADABLE = (
    psycopg.errors.ProgrammingError,
    psycopg.errors.NotSupportedError,
    psycopg.errors.InternalError_,
)
_logger = structlog.get_logger(__name__)


class Primary(NamedTuple):
    """A server that takes writes: the identifier of its database system, and the timeline it writes."""

    system: str
    timeline: int


class Timelines:
    """One per process. `generation` grows with each change of server: what was read before it may have been lost.

    In `folder`, shared by all processes of the data folder, an empty file per system and timeline keeps what was seen.
    Without a folder only this process remembers.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.generation = 0
        self.on_change: list[Callable[[], None]] = []
        self._folder = folder
        self._seen: set[Primary] = set()
        self._current: Primary | None = None
        self._refused: StalePrimary | None = None
        self._is_unreadable = False

    async def check(self, connection: psycopg.AsyncConnection) -> None:
        """Call on each new connection that reads or writes the log. Raises `StalePrimary`."""
        try:
            row = await (await connection.execute(_IDENTITY)).fetchone()
        except _UNREADABLE as error:
            self._cannot_read(error)
        else:
            self._check(row)

    def check_at_start(self, connection: psycopg.Connection) -> None:
        """The same for a process that has not begun to serve."""
        try:
            row = connection.execute(_IDENTITY).fetchone()
        except _UNREADABLE as error:
            self._cannot_read(error)
        else:
            self._check(row)

    def problems(self) -> Iterator[Problem]:
        if self._refused:
            yield Problem("stale_primary", str(self._refused), blocking=True)

    def _cannot_read(self, error: Exception) -> None:
        if not self._is_unreadable:
            _logger.warning("timeline unknown: an old primary is not noticed", error=type(error).__name__)
        self._is_unreadable = True

    def _check(self, row: tuple[str, str | None] | None) -> None:
        if row is None or row[1] is None:  # a standby: the promoted one is looked at when it takes writes
            return
        found = Primary(row[0], int(row[1], 16))
        highest = max((seen.timeline for seen in self._known() if seen.system == found.system), default=0)
        if found.timeline < highest:
            self._refuse(found, highest)
        if found.timeline > highest:
            self._note(found)
        self._refused = None
        before, self._current = self._current, found
        if before not in (None, found):
            self._change(before, found)

    def _refuse(self, found: Primary, highest: int) -> None:
        is_news, self._refused = self._refused is None, StalePrimary(found, highest, self._folder)
        if is_news:
            _logger.error(
                "old primary refused", timeline=found.timeline, highest=highest, system=found.system
            )
        raise self._refused

    def _change(self, before: Primary | None, found: Primary) -> None:
        """What was cached may have been lost with the other server."""
        _logger.warning("another primary", before=before, now=found)
        self.generation += 1
        for listener in self.on_change:
            listener()

    def _known(self) -> set[Primary]:
        if self._folder:
            for path in self._folder.glob("*-*"):
                system, _, timeline = path.name.partition("-")
                with suppress(ValueError):
                    self._seen.add(Primary(system, int(timeline)))
        return self._seen

    def _note(self, found: Primary) -> None:
        self._seen.add(found)
        # A command may run where no data folder is; it makes none.
        if self._folder and self._folder.parent.is_dir():
            try:
                self._folder.mkdir(mode=0o700, exist_ok=True)
                (self._folder / f"{found.system}-{found.timeline}").touch()
            except OSError as error:
                _logger.warning("timeline not kept", error=error.strerror)


def timelines_folder(data_folder: Path) -> Path:
    return data_folder / "timelines"
