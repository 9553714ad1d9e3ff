"""Folds a batch of events in one transaction into all tables whose checkpoints have the same position."""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
import structlog
from msgspec.structs import astuple
from psycopg import AsyncConnection, AsyncCursor

from huajuan.event_store.store import EventStore
from huajuan.projections.engine.checkpoints import (
    AHEAD_OF_LOG,
    Checkpoint,
    Positions,
    load_skips,
    lock_checkpoints,
    move_checkpoints,
    process_name,
)
from huajuan.projections.engine.fold import (
    LOG_COLUMNS,
    DecodedEvent,
    LogRow,
    PageDecoder,
    UndecodableEvent,
    Work,
    find_work,
    fold_rows,
)
from huajuan.projections.engine.projection import NO_SKIPS, Projection, ProjectionLimits, Skips
from huajuan.projections.engine.table import Table, arrays_of
from huajuan.response_cache.lease import lock_for_fold
from huajuan.response_cache.versions import CacheVersions

# From about this many new rows on COPY is faster than INSERT, although it needs round trips of its own.
COPY_ROWS_MIN = 300
_BEGIN, _COMMIT = b"BEGIN", b"COMMIT"
_PAGE = f"""
SELECT {LOG_COLUMNS} FROM log.huajuan_events WHERE notification_id > %b ORDER BY notification_id LIMIT %b
""".encode()
Rows = dict[Any, tuple[Any, ...]]
_logger = structlog.get_logger(__name__)


class ActiveProjection(NamedTuple):
    """A projection and the events that it skips."""

    projection: Projection
    skips: Skips = NO_SKIPS


class ProjectionSet:
    """The projections that a process folds, by schema, and which of them are stopped."""

    def __init__(self, projections: Iterable[Projection], positions: Positions) -> None:
        self._active = {projection.schema: ActiveProjection(projection) for projection in projections}
        self._positions = positions
        # Each process that starts tries a stopped projection once more: its fold may be corrected.
        self._may_retry = set(self._active)

    def __getitem__(self, schema: str) -> ActiveProjection:
        return self._active[schema]

    @property
    def schemas(self) -> tuple[str, ...]:
        return tuple(self._active)

    @property
    def projections(self) -> list[Projection]:
        return [active.projection for active in self._active.values()]

    async def load_skips(self, connection: AsyncConnection) -> None:
        older = [schema for projection in self.projections for schema in projection.older_schemas]
        skips = await load_skips(connection, [*self.schemas, *older])
        for projection in self.projections:
            self._active[projection.schema] = ActiveProjection(projection, skips[projection.schema])
            if ignored := {at for schema in projection.older_schemas for at in skips[schema].positions}:
                _logger.warning(
                    "skips of an older version are ignored",
                    projection=projection.schema,
                    positions=sorted(ignored),
                )

    async def may_lock(self, connection: AsyncConnection, row: Checkpoint) -> bool:
        """Whether to fold on from this checkpoint: a stopped one only if its event was skipped meanwhile."""
        if row.stopped_at is None:
            return True
        if row.stopped_by != AHEAD_OF_LOG:
            skips = (await load_skips(connection, [row.schema]))[row.schema]
            self._active[row.schema] = ActiveProjection(self[row.schema].projection, skips)
            if row.schema in self._may_retry or row.stopped_at in skips.positions:
                return True
        self._positions.mark_stopped(row.schema)
        return False

    def mark_stopped(self, schema: str) -> None:
        """This process stopped the projection and does not try it again."""
        self._may_retry.discard(schema)
        self._positions.mark_stopped(schema)


class CheckpointLocked(Exception):
    """Another process folds, the projections are stopped, or another server holds the cache lease."""


class FoldedBatch(NamedTuple):
    """The schemas that were folded, their new position, and whether more events may be waiting."""

    schemas: tuple[str, ...]
    position: int
    is_more: bool


class AppliedBatch(NamedTuple):
    """The statements to execute, with their values, and the accounts of the changed rows by schema."""

    writes: list[tuple[bytes, tuple[Any, ...]]]
    accounts: dict[str, set[UUID]]


@dataclass
class BatchFolder:
    """One a runner. `start_position` is where the last batch began, committed or not."""

    projections: ProjectionSet
    store: EventStore
    positions: Positions
    limits: ProjectionLimits
    versions: CacheVersions
    start_position: int = 0

    def __post_init__(self) -> None:
        self._decoder = PageDecoder(self.store.keys)
        self._name = process_name()
        self._turn = 0

    async def fold(self, connection: AsyncConnection, schemas: Sequence[str], events_max: int) -> FoldedBatch:
        """Rows and checkpoints commit together. Raises `CheckpointLocked`, and any error of a fold."""
        async with _rolled_back_on_failure(connection):
            expected = self.positions[schemas[0]]
            checkpoints, rows = await self._begin(connection, schemas, expected, events_max)
            locked, are_apart = await self._choose_position(connection, checkpoints)
            self.start_position, names = locked[0].position, tuple(row.schema for row in locked)
            if are_apart:
                events_max = min(events_max, self.limits.turn_events_max)
            if are_apart or self.start_position != expected:
                rows = await (await _select_page(connection, self.start_position, events_max)).fetchall()
            if rows:
                await self._fold(connection, [self.projections[name] for name in names], rows)
        return FoldedBatch(
            names, rows[-1][4] if rows else self.start_position, are_apart or len(rows) == events_max
        )

    async def _begin(
        self, connection: AsyncConnection, schemas: Sequence[str], expected: int, events_max: int
    ) -> tuple[list[Checkpoint], list[LogRow]]:
        """One round trip, because a batch nearly always begins where the last one ended."""
        async with connection.pipeline():
            await connection.execute(_BEGIN, prepare=True)
            allowed = await lock_for_fold(connection, self.versions.holder)
            locked = await lock_checkpoints(connection, schemas)
            page = await _select_page(connection, expected, events_max)
            if (True,) not in await allowed.fetchall():
                raise CheckpointLocked
            return [Checkpoint(*row) for row in await locked.fetchall()], await page.fetchall()

    async def _choose_position(
        self, connection: AsyncConnection, checkpoints: Sequence[Checkpoint]
    ) -> tuple[list[Checkpoint], bool]:
        """The checkpoints at one position, and whether there are other positions: these take turns.

        Skips are read while the rows are locked, because a skip is recorded under the same lock.
        """
        free = [row for row in checkpoints if await self.projections.may_lock(connection, row)]
        if not free:
            raise CheckpointLocked
        positions = sorted({row.position for row in free}, reverse=True)
        chosen = positions[self._turn % len(positions)]
        self._turn += 1
        return [row for row in free if row.position == chosen], len(positions) > 1

    async def _fold(
        self, connection: AsyncConnection, active: list[ActiveProjection], rows: list[LogRow]
    ) -> None:
        applied = await apply_batch(connection, active, await self._decode(connection, active, rows))
        schemas = [one.projection.schema for one in active]
        with self.versions.changing(applied.accounts):
            async with connection.pipeline():
                for statement, values in applied.writes:
                    await connection.execute(statement, values, prepare=True)
                await move_checkpoints(connection, schemas, rows[-1][4], self._name)
                await connection.execute(_COMMIT, prepare=True)

    async def _decode(
        self, connection: AsyncConnection, active: Iterable[ActiveProjection], rows: list[LogRow]
    ) -> list[DecodedEvent]:
        """Without the events that none of them folds: a newer program may have written them."""
        topics = frozenset[str]().union(*(one.projection.topics for one in active))
        page = self._decoder.parse([row for row in rows if row[2] in topics])
        await self.store.keys.load(page.subjects, connection)
        batch = self._decoder.finish(page)
        times = (event.timestamp for _, cls, event in batch if cls is not UndecodableEvent)
        self.store.event_clock.observe(times)
        return batch


async def _select_page(connection: AsyncConnection, after: int, events_max: int) -> AsyncCursor[LogRow]:
    return await connection.execute(_PAGE, (after, events_max), prepare=True, binary=True)


@asynccontextmanager
async def _rolled_back_on_failure(connection: AsyncConnection) -> AsyncIterator[None]:
    """Ends a transaction that did not reach its own COMMIT; after a COMMIT it does nothing."""
    try:
        yield
    finally:
        with suppress(psycopg.Error):
            await connection.rollback()


async def apply_batch(
    connection: AsyncConnection, active: Iterable[ActiveProjection], batch: Sequence[DecodedEvent]
) -> AppliedBatch:
    """Inside the caller's transaction, with the projections' schemas on the search path.

    The rows of all tables are loaded in one round trip. The caller executes the writes.
    """
    works = [(one, work) for one in active if (work := find_work(one.projection, batch, one.skips))]
    found = await _load(connection, [(one.projection.table, work) for one, work in works])
    applied = AppliedBatch([], {})
    for (one, work), before in zip(works, found, strict=True):
        table = one.projection.table
        rows = {key: table.row(*row) for key, row in before.items()}
        fold_rows(rows, work, one.skips.streams)
        after = {key: row and astuple(row) for key, row in rows.items()}
        applied.writes.extend(await _prepare_writes(connection, table, before, after))
        if (at := table.account_at) is not None:
            changed = {row[at] for row in (*before.values(), *after.values()) if row}
            applied.accounts[one.projection.schema] = changed
        else:
            applied.accounts[one.projection.schema] = set()
    return applied


async def _load(connection: AsyncConnection, works: Sequence[tuple[Table[Any], Work]]) -> list[Rows]:
    """The current rows of each table that the events change, by key."""
    cursors = []
    async with connection.pipeline() if len(works) > 1 else nullcontext():
        for table, work in works:
            keys = list({one[0] for one in work})
            cursors.append(await connection.execute(table.select, (keys,), prepare=True, binary=True))
        found = [await cursor.fetchall() for cursor in cursors]
    return [{row[table.key_at]: row for row in rows} for (table, _), rows in zip(works, found, strict=True)]


async def _prepare_writes(
    connection: AsyncConnection, table: Table[Any], before: Rows, after: dict[Any, Any]
) -> list[tuple[bytes, tuple[Any, ...]]]:
    new = [row for key, row in after.items() if row and key not in before]
    changed = [row for key, row in after.items() if row and row != before.get(key, row)]
    deleted = [key for key, row in after.items() if not row and key in before]
    writes: list[tuple[bytes, tuple[Any, ...]]] = []
    if deleted:
        writes.append((table.delete, (deleted,)))
    if changed:
        writes.append((table.update, arrays_of(changed)))
    if len(new) >= COPY_ROWS_MIN:
        async with connection.cursor() as cursor, cursor.copy(table.copy) as copy:
            copy.set_types(table.types)
            for row in new:
                await copy.write_row(row)
    elif new:
        writes.append((table.insert, arrays_of(new)))
    return writes
