"""Rebuilds read tables in one pass over the log, in a process of its own, while the live ones serve."""

import gc
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial

import msgspec
import psycopg

from huajuan.projections.engine.projection import Projection, Skips
from huajuan.projections.engine.rebuild_status import CANCELLED, DONE, SWAPPED
from huajuan.projections.engine.skips import skips_on_record
from huajuan.projections.rebuild.cleanup import drop
from huajuan.projections.rebuild.compare import Differences, compare
from huajuan.projections.rebuild.connections import connection
from huajuan.projections.rebuild.errors import NeverCaughtUp, NeverLetGo, StillRead
from huajuan.projections.rebuild.index import index
from huajuan.projections.rebuild.limits import RebuildLimits
from huajuan.projections.rebuild.log_pages import LogPages
from huajuan.projections.rebuild.new_tables import NewTables, new_schema, old_schema
from huajuan.projections.rebuild.progress import Tell, Telling
from huajuan.projections.rebuild.records import Note, alone, end, refuse_unless_asked
from huajuan.projections.rebuild.swap import Held, Live, live_tables, swap
from huajuan.response_cache.lease_for_swap import end_tenancies
from huajuan.runtime.shutdown import seen_through

# How long a thread may keep Python to itself while others wait for it.
TURN_SECONDS = 0.0005


class Report(msgspec.Struct, frozen=True):
    """What a rebuild came to. Tables that were stopped, or never made, are not `compared` with anything.

    `left` are schemas of the old tables that somebody still reads; a service drops them later.
    """

    tables: list[str]
    position: int
    seconds: float
    still_seconds: float
    compared: list[str]
    differences: list[Differences]
    left: list[str]


def rebuild(
    dsn: str,
    projections: Sequence[Projection],
    limits: RebuildLimits,
    tell: Tell,
    asked: int | None = None,
) -> Report:
    """Raises `RebuildFailed`. However it ends, the live tables serve, and only a note is left of it.

    `asked` is where the request for it is on record: whoever comes second with it begins nothing.
    """
    with connection(dsn) as control, alone(control, projections):
        refuse_unless_asked(control, asked, projections)
        if still_read := drop(control, _schemas(projections), limits):
            raise StillRead(still_read[0])
        skips = skips_on_record(control, projections)
        note = Note(control, projections, 0, asked)
        this = _Rebuild(dsn, projections, limits, Telling(note, tell), note, skips)
        try:
            with _undisturbed():
                return this.run()
        except BaseException as error:
            if not this.is_noted:
                _clear_away(dsn, projections, limits, note, error, is_swapped=this.is_swapped)
            raise


class _Rebuild:
    """One rebuild from its beginning to the swap and the comparison."""

    def __init__(
        self,
        dsn: str,
        projections: Sequence[Projection],
        limits: RebuildLimits,
        telling: Telling,
        note: Note,
        skips: Mapping[str, Skips],
    ) -> None:
        self._dsn = dsn
        self._projections = projections
        self._limits = limits
        self._telling = telling
        self._note = note
        self.is_swapped = self.is_noted = False
        self._skips = skips

    def run(self) -> Report:
        with ExitStack() as stack:
            swapping, holding = (stack.enter_context(connection(self._dsn)) for _ in range(2))
            reading, writing, looking = (
                stack.enter_context(connection(self._dsn, gently=True)) for _ in range(3)
            )
            self._pages = LogPages(reading, _topics(self._projections), self._limits.page_events_max)
            self._tables = NewTables(writing, self._projections, self._limits.rows_kept_max, self._skips)
            self._tables.make()
            self._catch_up_closely(swapping)
            self._telling.do("indexing")
            self._tables.write_all()
            index(self._dsn, self._projections, self._tables.leave_to_key(), self._limits)
            return self._swap_and_compare(swapping, holding, looking)

    def _swap_and_compare(
        self, swapping: psycopg.Connection, holding: psycopg.Connection, looking: psycopg.Connection
    ) -> Report:
        """Again and again in short turns, so that no live table waits for the leader of another. Raises `NeverLetGo`.

        Once swapped it is compared as well, whoever is told to stop: nobody could do it later.
        """
        longest = 0.0
        looking.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        for _ in range(self._limits.swap_tries_max):
            end_tenancies(swapping)
            self._come_close(swapping)
            began = time.monotonic()
            try:
                with seen_through():
                    last_step = partial(self._last_step, looking)
                    seconds = swap(swapping, holding, self._projections, self._limits, self._note, last_step)
                    self.is_swapped = True
                    return self._compare(looking, swapping, max(longest, seconds))
            except Held:
                longest = max(longest, time.monotonic() - began)
                time.sleep(self._limits.swap_pause_seconds)
        raise NeverLetGo

    def _come_close(self, opened: psycopg.Connection) -> None:
        """What has come in since they were written is written before the live tables wait, but for the last step."""
        self._catch_up_closely(opened)
        self._tables.write_all()
        self._catch_up_closely(opened)

    def _catch_up_closely(self, opened: psycopg.Connection) -> None:
        """Until the last step is short enough for the live tables to wait for it. Raises `NeverCaughtUp`."""
        for _ in range(self._limits.catch_up_rounds_max):
            bounds = self._bounds(live_tables(opened, self._projections))
            if max(bounds.values()) - self._reached() <= self._limits.last_step_events_max:
                return
            self._fold_up_to(bounds)
        raise NeverCaughtUp

    def _bounds(self, live: Mapping[str, Live]) -> dict[str, int]:
        """A table that is live is followed exactly, to be compared with; any other goes to the log's end, and so
        does one that is ahead of it, since somebody cut the log."""
        head = self._pages.head()
        followed = {s: min(head, stood.position) for s, stood in live.items() if not stood.is_stopped}
        return {p.schema: followed.get(p.schema, head) for p in self._projections}

    def _reached(self) -> int:
        return min(self._tables.positions.values())

    def _fold_up_to(self, bounds: Mapping[str, int]) -> None:
        upto = max(bounds.values())
        self._telling.come_to(self._reached(), upto)
        for reached, events in self._pages.between(self._reached(), upto):
            self._tables.fold(events, reached, bounds)
            self._telling.come_to(reached, upto)

    def _last_step(self, looking: psycopg.Connection, live: Mapping[str, Live]) -> Mapping[str, int]:
        """Old and new stand at one position now, and `looking` goes on seeing them so."""
        self._live = live
        self._fold_up_to(self._bounds(live))
        self._tables.write_all()
        looking.execute("SELECT 1")
        return self._tables.positions

    def _compare(
        self, looking: psycopg.Connection, control: psycopg.Connection, still_seconds: float
    ) -> Report:
        comparable = [p for p in self._projections if self._stood_where_the_new_one_does(p.schema)]
        shown_max = self._limits.differences_shown_max
        with suppress(OSError):  # whoever was told may have left
            self._telling.do("comparing")
        found = [compare(looking, p, old_schema(p), p.schema, shown_max) for p in comparable]
        looking.rollback()
        differences = [difference for difference in found if difference]
        end(control, self._note.id, DONE, [msgspec.structs.asdict(d) for d in differences])
        self.is_noted = True
        left = drop(control, [old_schema(projection) for projection in self._projections], self._limits)
        return Report(
            tables=[projection.name for projection in self._projections],
            position=max(self._tables.positions.values()),
            seconds=self._telling.seconds,
            still_seconds=still_seconds,
            compared=[projection.name for projection in comparable],
            differences=differences,
            left=left,
        )

    def _stood_where_the_new_one_does(self, schema: str) -> bool:
        """Not so a table that was stopped, even if it has gone on meanwhile, or was never made."""
        return schema in self._live and self._live[schema].position == self._tables.positions[schema]


def _topics(projections: Sequence[Projection]) -> list[str]:
    return sorted(frozenset().union(*(projection.topics for projection in projections)))


def _schemas(projections: Sequence[Projection]) -> list[str]:
    return [name(projection) for projection in projections for name in (new_schema, old_schema)]


def _clear_away(
    dsn: str,
    projections: Sequence[Projection],
    limits: RebuildLimits,
    note: Note,
    error: BaseException,
    *,
    is_swapped: bool,
) -> None:
    """On a new connection, for those there are may have been interrupted in mid-sentence."""
    outcome = f"failed: {error}" if isinstance(error, Exception) else CANCELLED
    with connection(dsn) as opened:
        end(opened, note.id, f"{SWAPPED}: {outcome}" if is_swapped else outcome)
        drop(opened, _schemas(projections), limits)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Rows and events hold no cycles, and looking for some costs a tenth of the time. Whoever fetches the next page
    works little and often, and would wait for its turn each time."""
    turn_seconds = sys.getswitchinterval()
    gc.freeze()
    gc.disable()
    sys.setswitchinterval(TURN_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(turn_seconds)
        gc.enable()
        gc.unfreeze()
