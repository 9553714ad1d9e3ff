"""Folds a batch of events in one transaction into all tables whose checkpoints have the same position."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple

import psycopg
from psycopg import AsyncConnection

from huajuan.event_store.log_reader import LogReader, Rows
from huajuan.projections.engine.apply import ActiveProjection, apply_batch
from huajuan.projections.engine.checkpoints import (
    Checkpoint,
    lock_checkpoints,
    move_checkpoints,
    process_name,
)
from huajuan.projections.engine.positions import Positions
from huajuan.projections.engine.projection import ProjectionLimits
from huajuan.projections.engine.projection_set import ProjectionSet
from huajuan.response_cache.lease import lock_for_fold
from huajuan.response_cache.versions import CacheVersions

_BEGIN, _COMMIT = b"BEGIN", b"COMMIT"


class CheckpointLocked(Exception):
    """Another process folds, the projections are stopped, or another server holds the cache lease."""


class FoldedBatch(NamedTuple):
    """The schemas that were folded, their new position, and whether more events may be waiting."""

    schemas: tuple[str, ...]
    position: int
    is_more: bool


class BatchFolder:
    """One a runner. `start_position` is where the last batch began, committed or not."""

    def __init__(
        self,
        projections: ProjectionSet,
        reader: LogReader,
        positions: Positions,
        limits: ProjectionLimits,
        versions: CacheVersions,
    ) -> None:
        self.start_position = 0
        self._projections = projections
        self._reader = reader
        self._positions = positions
        self._limits = limits
        self._versions = versions
        self._name = process_name()
        self._turn = 0

    async def fold(self, connection: AsyncConnection, schemas: Sequence[str], events_max: int) -> FoldedBatch:
        """Rows and checkpoints commit together. Raises `CheckpointLocked`, and any error of a fold."""
        async with _rolled_back_on_failure(connection):
            expected = self._positions[schemas[0]]
            checkpoints, rows = await self._begin(connection, schemas, expected, events_max)
            locked, are_apart = await self._choose_position(connection, checkpoints)
            self.start_position, names = locked[0].position, tuple(row.schema for row in locked)
            if are_apart:
                events_max = min(events_max, self._limits.turn_events_max)
            if are_apart or self.start_position != expected:
                rows = await self._reader.rows(connection, self.start_position, events_max)
            position = await self._fold(connection, names, rows) if rows else self.start_position
        return FoldedBatch(names, position, are_apart or len(rows) == events_max)

    async def _begin(
        self, connection: AsyncConnection, schemas: Sequence[str], expected: int, events_max: int
    ) -> tuple[list[Checkpoint], Rows]:
        """One round trip, because a batch nearly always begins where the last one ended."""
        async with connection.pipeline():
            await connection.execute(_BEGIN, prepare=True)
            allowed = await lock_for_fold(connection, self._versions.holder)
            locked = await lock_checkpoints(connection, schemas)
            page = await self._reader.select_page(connection, expected, events_max)
            if (True,) not in await allowed.fetchall():
                raise CheckpointLocked
            return [Checkpoint(*row) for row in await locked.fetchall()], await page.fetchall()

    async def _choose_position(
        self, connection: AsyncConnection, checkpoints: Sequence[Checkpoint]
    ) -> tuple[list[Checkpoint], bool]:
        """The checkpoints at one position, and whether there are other positions: these take turns.

        Skips are read while the rows are locked, because a skip is recorded under the same lock.
        """
        free = [row for row in checkpoints if await self._projections.may_lock(connection, row)]
        if not free:
            raise CheckpointLocked
        positions = sorted({row.position for row in free}, reverse=True)
        chosen = positions[self._turn % len(positions)]
        self._turn += 1
        return [row for row in free if row.position == chosen], len(positions) > 1

    async def _fold(self, connection: AsyncConnection, names: tuple[str, ...], rows: Rows) -> int:
        active = [self._projections[name] for name in names]
        batch = await self._reader.decode(connection, rows, _topics(active), _skipped_by_all(active))
        applied = await apply_batch(connection, active, batch)
        position = batch[-1].position
        with self._versions.changing(applied.accounts):
            async with connection.pipeline():
                for write in applied.writes:
                    await connection.execute(write.statement, write.values, prepare=True)
                await move_checkpoints(connection, names, position, self._name)
                await connection.execute(_COMMIT, prepare=True)
        return position


def _topics(active: Sequence[ActiveProjection]) -> frozenset[str]:
    return frozenset().union(*(one.projection.topics for one in active))


def _skipped_by_all(active: Sequence[ActiveProjection]) -> frozenset[int]:
    """An event that only some of them skip is decoded for the others."""
    return frozenset.intersection(*(one.skips.positions for one in active))


@asynccontextmanager
async def _rolled_back_on_failure(connection: AsyncConnection) -> AsyncIterator[None]:
    """Ends a transaction that did not reach its own COMMIT; after a COMMIT it does nothing."""
    try:
        yield
    finally:
        with suppress(psycopg.Error):
            await connection.rollback()
