"""Rebuilds read tables in one pass over the log, in a process of its own, while the live ones are served.

The steps: create new tables; fold the log into them until they are near the live ones; add indexes; swap
(`swap.py`); compare old and new; drop the old ones.
"""

import gc
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial

import msgspec
import psycopg

from huajuan.projections.engine.projection import Projection, Skips
from huajuan.projections.engine.skips import load_all_skips
from huajuan.projections.engine.status import CANCELLED, DONE, SWAPPED
from huajuan.projections.rebuild.cleanup import drop_schemas
from huajuan.projections.rebuild.compare import Differences, compare_tables
from huajuan.projections.rebuild.errors import RebuildFailed, SchemaInUse, SwapTimeout
from huajuan.projections.rebuild.index import create_indexes
from huajuan.projections.rebuild.log_pages import LogPages
from huajuan.projections.rebuild.new_tables import NewTables, new_schema, old_schema
from huajuan.projections.rebuild.records import (
    OnProgress,
    ProgressReporter,
    RebuildRecord,
    check_request,
    exclusive,
    record_outcome,
)
from huajuan.projections.rebuild.session import RebuildLimits, connection
from huajuan.projections.rebuild.swap import LiveTable, LockTimeout, live_tables, swap_tables
from huajuan.response_cache.lease import suspend_leases
from huajuan.runtime.shutdown import deferring_shutdown

# The time after which Python makes a thread yield to another one that waits.
SWITCH_SECONDS = 0.0005


class RebuildReport(msgspec.Struct, frozen=True):
    """The result of a rebuild. Tables that were stopped or missing are not in `compared`.

    `still_seconds` is for how long the live tables were locked. `left` are schemas of old tables that are
    still being read; the service drops them later.
    """

    tables: list[str]
    position: int
    seconds: float
    still_seconds: float
    compared: list[str]
    differences: list[Differences]
    left: list[str]


def rebuild_tables(
    dsn: str,
    projections: Sequence[Projection],
    limits: RebuildLimits,
    on_progress: OnProgress,
    requested_at_position: int | None = None,
) -> RebuildReport:
    """Raises `RebuildFailed`. In any case the live tables are served, and a record of the rebuild stays.

    `requested_at_position` is the position of the event that requests the rebuild; one request starts one
    rebuild.
    """
    with connection(dsn) as control, exclusive(control, projections):
        check_request(control, requested_at_position, projections)
        if remaining := drop_schemas(control, _schemas(projections), limits):
            raise SchemaInUse(remaining[0])
        skips = load_all_skips(control, projections)
        record = RebuildRecord(control, projections, 0, requested_at_position)
        reporter = ProgressReporter(record, on_progress)
        this = _Rebuild(dsn, projections, limits, reporter, record, skips)
        try:
            with _tuned_interpreter():
                return this.run()
        except BaseException as error:
            if not this.is_recorded:
                _abort(dsn, projections, limits, record, error, is_swapped=this.is_swapped)
            raise


class _Rebuild:
    """One rebuild up to the swap and the comparison."""

    def __init__(
        self,
        dsn: str,
        projections: Sequence[Projection],
        limits: RebuildLimits,
        reporter: ProgressReporter,
        record: RebuildRecord,
        skips: Mapping[str, Skips],
    ) -> None:
        self._dsn = dsn
        self._projections = projections
        self._limits = limits
        self._reporter = reporter
        self._record = record
        self.is_swapped = self.is_recorded = False
        self._skips = skips

    def run(self) -> RebuildReport:
        with ExitStack() as stack:
            swapping, holding = (stack.enter_context(connection(self._dsn)) for _ in range(2))
            reading, writing, comparing = (
                stack.enter_context(connection(self._dsn, niced=True)) for _ in range(3)
            )
            self._pages = LogPages(reading, _topics(self._projections), self._limits.page_events_max)
            self._tables = NewTables(writing, self._projections, self._limits.rows_kept_max, self._skips)
            self._tables.create()
            self._fold_until_near(swapping)
            self._reporter.begin_step("indexing")
            self._tables.write_all()
            create_indexes(self._dsn, self._projections, self._tables.take_unkeyed(), self._limits)
            return self._swap_and_compare(swapping, holding, comparing)

    def _swap_and_compare(
        self, swapping: psycopg.Connection, holding: psycopg.Connection, comparing: psycopg.Connection
    ) -> RebuildReport:
        """Tries to swap in short turns, so that no live table waits for the lock of another. Raises
        `SwapTimeout`.

        A stop signal is deferred until swapped tables are compared: the comparison cannot be done later.
        """
        longest = 0.0
        comparing.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        for _ in range(self._limits.swap_tries_max):
            suspend_leases(swapping)
            self._catch_up(swapping)
            began = time.monotonic()
            try:
                with deferring_shutdown():
                    last = partial(self._last_step, comparing)
                    seconds = swap_tables(
                        swapping, holding, self._projections, self._limits, self._record, last
                    )
                    self.is_swapped = True
                    return self._compare(comparing, swapping, max(longest, seconds))
            except LockTimeout:
                longest = max(longest, time.monotonic() - began)
                time.sleep(self._limits.swap_pause_seconds)
        raise SwapTimeout

    def _catch_up(self, opened: psycopg.Connection) -> None:
        """Leaves little to fold and to write for the last step, during which the live tables are locked."""
        self._fold_until_near(opened)
        self._tables.write_all()
        self._fold_until_near(opened)

    def _fold_until_near(self, opened: psycopg.Connection) -> None:
        """Until at most `last_step_events_max` events are missing. Raises `RebuildFailed`."""
        for _ in range(self._limits.catch_up_rounds_max):
            bounds = self._bounds(live_tables(opened, self._projections))
            if max(bounds.values()) - self._position() <= self._limits.last_step_events_max:
                return
            self._fold_up_to(bounds)
        raise RebuildFailed("events are appended faster than they can be folded")

    def _bounds(self, live: Mapping[str, LiveTable]) -> dict[str, int]:
        """The position of the live table, so that both can be compared. The end of the log for a table that
        is missing, stopped, or ahead of a log that was cut.
        """
        head = self._pages.head()
        bounds = {s: min(head, table.position) for s, table in live.items() if not table.is_stopped}
        return {p.schema: bounds.get(p.schema, head) for p in self._projections}

    def _position(self) -> int:
        return min(self._tables.positions.values())

    def _fold_up_to(self, bounds: Mapping[str, int]) -> None:
        upto = max(bounds.values())
        self._reporter.report(self._position(), upto)
        for position, events in self._pages.between(self._position(), upto):
            self._tables.fold(events, position, bounds)
            self._reporter.report(position, upto)

    def _last_step(self, comparing: psycopg.Connection, live: Mapping[str, LiveTable]) -> Mapping[str, int]:
        """Brings old and new tables to one position. `comparing` takes its snapshot there."""
        self._live = live
        self._fold_up_to(self._bounds(live))
        self._tables.write_all()
        comparing.execute("SELECT 1")
        return self._tables.positions

    def _compare(
        self, comparing: psycopg.Connection, control: psycopg.Connection, still_seconds: float
    ) -> RebuildReport:
        comparable = [p for p in self._projections if self._is_comparable(p.schema)]
        shown_max = self._limits.differences_shown_max
        with suppress(OSError):  # the reader of the progress may have gone
            self._reporter.begin_step("comparing")
        found = [compare_tables(comparing, p, old_schema(p), p.schema, shown_max) for p in comparable]
        comparing.rollback()
        differences = [difference for difference in found if difference]
        record_outcome(control, self._record.id, DONE, [msgspec.structs.asdict(d) for d in differences])
        self.is_recorded = True
        left = drop_schemas(
            control, [old_schema(projection) for projection in self._projections], self._limits
        )
        return RebuildReport(
            tables=[projection.name for projection in self._projections],
            position=max(self._tables.positions.values()),
            seconds=self._reporter.seconds,
            still_seconds=still_seconds,
            compared=[projection.name for projection in comparable],
            differences=differences,
            left=left,
        )

    def _is_comparable(self, schema: str) -> bool:
        """Whether old and new table have the same position: not if the old one was stopped or missing."""
        return schema in self._live and self._live[schema].position == self._tables.positions[schema]


def _topics(projections: Sequence[Projection]) -> list[str]:
    return sorted(frozenset().union(*(projection.topics for projection in projections)))


def _schemas(projections: Sequence[Projection]) -> list[str]:
    return [name(projection) for projection in projections for name in (new_schema, old_schema)]


def _abort(
    dsn: str,
    projections: Sequence[Projection],
    limits: RebuildLimits,
    record: RebuildRecord,
    error: BaseException,
    *,
    is_swapped: bool,
) -> None:
    """On a new connection, because the others may be in the middle of a statement."""
    outcome = f"failed: {error}" if isinstance(error, Exception) else CANCELLED
    with connection(dsn) as opened:
        record_outcome(opened, record.id, f"{SWAPPED}: {outcome}" if is_swapped else outcome)
        drop_schemas(opened, _schemas(projections), limits)


@contextmanager
def _tuned_interpreter() -> Iterator[None]:
    """Without garbage collection, which takes a tenth of the time: rows and events have no reference cycles.
    With a short switch interval, because the thread that fetches pages needs the interpreter often and
    briefly.
    """
    switch_seconds = sys.getswitchinterval()
    gc.freeze()
    gc.disable()
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(switch_seconds)
        gc.enable()
        gc.unfreeze()
