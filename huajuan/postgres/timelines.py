"""Detects failovers and old primaries by the highest timeline that was seen of each database system."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import psycopg
import structlog

from huajuan.postgres.retry import StalePrimary
from huajuan.runtime.health import Problem

# The name of the current WAL file begins with the timeline. The control file names the new timeline only
# after a checkpoint. Every role of a standard PostgreSQL may call both functions.
_IDENTITY = b"""
SELECT (SELECT system_identifier FROM pg_control_system())::text,
       CASE WHEN NOT pg_is_in_recovery() THEN left(pg_walfile_name(pg_current_wal_lsn()), 8) END
"""
# The role may lack the privilege, or a managed database may lack the functions.
_UNREADABLE = (psycopg.ProgrammingError, psycopg.NotSupportedError, psycopg.errors.InternalError_)
_logger = structlog.get_logger(__name__)


class Primary(NamedTuple):
    """A server that accepts writes: the identifier of its database system, and its timeline."""

    system: str
    timeline: int


class Timelines:
    """One per process. `generation` grows with each change of the primary: data read before it may be lost.

    `folder` is shared by all processes of the data folder and has an empty file for each system and timeline
    that was seen. Without a folder only this process knows them.
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
        """Checks a new connection. Raises `StalePrimary`."""
        with self._unreadable_reported():
            self._check(await (await connection.execute(_IDENTITY)).fetchone())

    def check_blocking(self, connection: psycopg.Connection) -> None:
        """The same for code without an event loop."""
        with self._unreadable_reported():
            self._check(connection.execute(_IDENTITY).fetchone())

    def problems(self) -> Iterator[Problem]:
        if self._refused:
            yield Problem("stale_primary", str(self._refused), blocking=True)

    @contextmanager
    def _unreadable_reported(self) -> Iterator[None]:
        try:
            yield
        except _UNREADABLE as error:
            if not self._is_unreadable:
                _logger.warning(
                    "timeline unknown: an old primary is not detected", error=type(error).__name__
                )
            self._is_unreadable = True

    def _check(self, row: tuple[str, str | None] | None) -> None:
        if row is None or row[1] is None:  # a standby: it is checked again after its promotion
            return
        found = Primary(row[0], int(row[1], 16))
        highest = max((seen.timeline for seen in self._known() if seen.system == found.system), default=0)
        if found.timeline < highest:
            is_first, self._refused = self._refused is None, StalePrimary(found, highest, self._folder)
            if is_first:
                _logger.error("old primary refused", **found._asdict(), highest=highest)
            raise self._refused
        if found.timeline > highest:
            self._record(found)
        self._refused = None
        before, self._current = self._current, found
        if before not in (None, found):
            self._change(before, found)

    def _change(self, before: Primary | None, found: Primary) -> None:
        """Calls the listeners, which drop cached data that the new primary may lack."""
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

    def _record(self, found: Primary) -> None:
        self._seen.add(found)
        # A command that runs without a data folder must not create one.
        if self._folder and self._folder.parent.is_dir():
            try:
                self._folder.mkdir(mode=0o700, exist_ok=True)
                (self._folder / f"{found.system}-{found.timeline}").touch()
            except OSError as error:
                _logger.warning("timeline not stored", error=error.strerror)


def timelines_folder(data_folder: Path) -> Path:
    return data_folder / "timelines"
