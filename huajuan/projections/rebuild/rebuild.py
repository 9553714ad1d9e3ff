"""Rebuilds read tables in one pass over the log, in a process of its own, while the live ones are served.

The steps: create new tables; fold the log into them until they are near the live ones; add indexes; swap and
compare old and new (`swap.py`); drop the old ones.
"""

import gc
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from uuid import UUID

import msgspec
import psycopg
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from huajuan.projections.engine.checkpoints import Checkpoint, load_skips_blocking
from huajuan.projections.engine.fold import LOG_COLUMNS, DecodedEvent, LogRow, PageDecoder
from huajuan.projections.engine.projection import Projection, Skips
from huajuan.projections.engine.status import CANCELLED, DONE, SWAPPED
from huajuan.projections.rebuild.new_tables import NewTables, create_indexes, new_schema, old_schema
from huajuan.projections.rebuild.session import (
    OnProgress,
    RebuildFailed,
    RebuildLimits,
    RebuildRecord,
    SchemaInUse,
    SwapTimeout,
    check_request,
    connection,
    drop_schemas,
    exclusive,
)
from huajuan.projections.rebuild.swap import (
    Differences,
    LockTimeout,
    compare_tables,
    live_tables,
    swap_tables,
)
from huajuan.response_cache.lease import suspend_leases
from huajuan.runtime.shutdown import deferring_shutdown

# The time after which Python makes a thread yield to another one that waits.
SWITCH_SECONDS = 0.0005
# Planned for each page: a prepared plan would not hash the topics.
_PAGE = f"""
SELECT {LOG_COLUMNS} FROM log.huajuan_events
 WHERE notification_id > %s AND notification_id <= %s AND topic = ANY(%s) ORDER BY notification_id
""".encode()
_HEAD = "SELECT coalesce(max(notification_id), 0) FROM log.huajuan_events"
_KEYS = """
SELECT k.key FROM unnest(%s::uuid[]) WITH ORDINALITY AS wanted (subject_id, n)
  LEFT JOIN operations.personal_keys k USING (subject_id) ORDER BY n
"""


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
        skips = load_skips_blocking(control, [projection.schema for projection in projections])
        record = RebuildRecord(control, projections, requested_at_position, on_progress)
        this = _Rebuild(dsn, projections, limits, record, skips)
        try:
            with _tuned_interpreter():
                return this.run()
        except BaseException as error:
            this.abort(error)
            raise


@dataclass
class _Rebuild:
    """One rebuild up to the swap and the comparison."""

    dsn: str
    projections: Sequence[Projection]
    limits: RebuildLimits
    record: RebuildRecord
    skips: Mapping[str, Skips]
    is_swapped: bool = False
    is_recorded: bool = False

    def run(self) -> RebuildReport:
        with ExitStack() as stack:
            swapping, holding = (stack.enter_context(connection(self.dsn)) for _ in range(2))
            reading, writing, comparing = (
                stack.enter_context(connection(self.dsn, niced=True)) for _ in range(3)
            )
            self._pages = LogPages(reading, self.projections, self.limits.page_events_max)
            self._tables = NewTables(writing, self.projections, self.limits.rows_kept_max, self.skips)
            self._tables.create()
            self._fold_until_near(swapping)
            self.record.begin_step("indexing")
            self._tables.write_all()
            create_indexes(self.dsn, self.projections, self._tables.take_unkeyed(), self.limits)
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
        for _ in range(self.limits.swap_tries_max):
            suspend_leases(swapping)
            # Leaves little to fold and to write for the last step, during which the live tables are locked.
            self._fold_until_near(swapping)
            self._tables.write_all()
            self._fold_until_near(swapping)
            began = time.monotonic()
            try:
                with deferring_shutdown():
                    seconds = swap_tables(
                        swapping,
                        holding,
                        self.projections,
                        self.limits,
                        self.record,
                        lambda live: self._last_step(comparing, live),
                    )
                    self.is_swapped = True
                    return self._compare(comparing, swapping, max(longest, seconds))
            except LockTimeout:
                longest = max(longest, time.monotonic() - began)
                time.sleep(self.limits.swap_pause_seconds)
        raise SwapTimeout

    def _fold_until_near(self, opened: psycopg.Connection) -> None:
        """Until at most `last_step_events_max` events are missing. Raises `RebuildFailed`."""
        for _ in range(self.limits.catch_up_rounds_max):
            bounds = self._bounds(live_tables(opened, self.projections))
            if max(bounds.values()) - self._position() <= self.limits.last_step_events_max:
                return
            self._fold_up_to(bounds)
        raise RebuildFailed("events are appended faster than they can be folded")

    def _bounds(self, live: Mapping[str, Checkpoint]) -> dict[str, int]:
        """The position of the live table, so that both can be compared. The end of the log for a table that
        is missing, stopped, or ahead of a log that was cut.
        """
        head = self._pages.head()
        bounds = {s: min(head, table.position) for s, table in live.items() if table.stopped_at is None}
        return {p.schema: bounds.get(p.schema, head) for p in self.projections}

    def _position(self) -> int:
        return min(self._tables.positions.values())

    def _fold_up_to(self, bounds: Mapping[str, int]) -> None:
        upto = max(bounds.values())
        self.record.report(self._position(), upto)
        for position, events in self._pages.between(self._position(), upto):
            self._tables.fold(events, position, bounds)
            self.record.report(position, upto)

    def _last_step(self, comparing: psycopg.Connection, live: Mapping[str, Checkpoint]) -> Mapping[str, int]:
        """Brings old and new tables to one position. `comparing` takes its snapshot there."""
        self._live = live
        self._fold_up_to(self._bounds(live))
        self._tables.write_all()
        comparing.execute("SELECT 1")
        return self._tables.positions

    def _compare(
        self, comparing: psycopg.Connection, control: psycopg.Connection, still_seconds: float
    ) -> RebuildReport:
        # Not those whose old table was stopped or missing: it had another position.
        positions = {schema: live.position for schema, live in self._live.items()}
        comparable = [
            p for p in self.projections if positions.get(p.schema) == self._tables.positions[p.schema]
        ]
        shown_max = self.limits.differences_shown_max
        with suppress(OSError):  # the reader of the progress may have gone
            self.record.begin_step("comparing")
        found = [compare_tables(comparing, p, old_schema(p), p.schema, shown_max) for p in comparable]
        comparing.rollback()
        differences = [difference for difference in found if difference]
        self.record.end(control, DONE, [msgspec.structs.asdict(d) for d in differences])
        self.is_recorded = True
        left = drop_schemas(control, map(old_schema, self.projections), self.limits)
        return RebuildReport(
            tables=[projection.name for projection in self.projections],
            position=max(self._tables.positions.values()),
            seconds=self.record.seconds,
            still_seconds=still_seconds,
            compared=[projection.name for projection in comparable],
            differences=differences,
            left=left,
        )

    def abort(self, error: BaseException) -> None:
        """On a new connection, because the others may be in the middle of a statement."""
        if self.is_recorded:
            return
        outcome = f"failed: {error}" if isinstance(error, Exception) else CANCELLED
        with connection(self.dsn) as opened:
            self.record.end(opened, f"{SWAPPED}: {outcome}" if self.is_swapped else outcome)
            drop_schemas(opened, _schemas(self.projections), self.limits)


def _schemas(projections: Sequence[Projection]) -> list[str]:
    return [name(projection) for projection in projections for name in (new_schema, old_schema)]


class LogPages:
    """Reads and decodes the log in large pages; the next one is fetched by a thread during the fold.

    The personal keys are read on the same connection, and kept for one page only.
    """

    def __init__(
        self, connection: psycopg.Connection, projections: Sequence[Projection], events_max: int
    ) -> None:
        self._connection = connection
        self._topics = sorted(frozenset().union(*(projection.topics for projection in projections)))
        self._events_max = events_max
        self._keys: dict[UUID, AESGCM | None] = {}
        self._decoder = PageDecoder(self._keys)

    def head(self) -> int:
        """The last position of the log."""
        ((position,),) = self._connection.execute(_HEAD).fetchall()
        return int(position)

    def between(self, after: int, upto: int) -> Iterator[tuple[int, list[DecodedEvent]]]:
        """For each page its last position, and its events of the topics."""
        starts = range(after, upto, self._events_max)
        bounds = [(start, min(start + self._events_max, upto)) for start in starts]
        with ThreadPoolExecutor(1) as thread:
            next_page = thread.submit(self._fetch, *bounds[0]) if bounds else None
            for (_, end), following in zip(bounds, [*bounds[1:], None], strict=False):
                # It reads keys on the same connection, so before the next page is fetched.
                events = self._decode(next_page.result() if next_page else [])
                next_page = thread.submit(self._fetch, *following) if following else None
                yield end, events

    def _fetch(self, after: int, upto: int) -> list[LogRow]:
        values = (after, upto, self._topics)
        return self._connection.execute(_PAGE, values, prepare=False, binary=True).fetchall()

    def _decode(self, rows: list[LogRow]) -> list[DecodedEvent]:
        page = self._decoder.parse(rows)
        wanted = list(page.subjects)
        found = self._connection.execute(_KEYS, (wanted,), prepare=True, binary=True).fetchall()
        self._keys.clear()
        self._keys |= {subject: key and AESGCM(key) for subject, (key,) in zip(wanted, found, strict=True)}
        return self._decoder.finish(page)


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
