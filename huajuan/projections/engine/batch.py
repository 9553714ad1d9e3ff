"""One batch of events, folded in one transaction into all the tables that stand where it begins."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple

import psycopg
from psycopg import AsyncConnection

from huajuan.event_store.log_reader import LogReader, Rows
from huajuan.projections.engine.apply import Followed, apply
from huajuan.projections.engine.checkpoint_lock import Checkpoint, ask_to_lead, move
from huajuan.projections.engine.limits import ProjectionLimits
from huajuan.projections.engine.positions import Positions
from huajuan.projections.engine.process_name import own_name
from huajuan.projections.engine.projection_set import Following
from huajuan.response_cache.lease import ask_to_fold
from huajuan.response_cache.versions import Changes

_BEGIN, _COMMIT = b"BEGIN", b"COMMIT"


class NotOurs(Exception):
    """Another process leads, the projections are stopped, or another server alone may change their tables just now."""


class Folded(NamedTuple):
    """Which tables came how far, and whether more may be waiting for any."""

    schemas: tuple[str, ...]
    position: int
    is_more: bool


class Batches:
    """One a runner. `led_from` is where the last batch began, committed or not."""

    def __init__(
        self,
        following: Following,
        reader: LogReader,
        positions: Positions,
        limits: ProjectionLimits,
        changes: Changes,
    ) -> None:
        self.led_from = 0
        self._following = following
        self._reader = reader
        self._positions = positions
        self._limits = limits
        self._changes = changes
        self._name = own_name()
        self._turn = 0

    async def fold(self, connection: AsyncConnection, schemas: Sequence[str], events_max: int) -> Folded:
        """Rows and positions commit together. Raises `NotOurs`, and whatever a fold raises."""
        async with _undone_on_failure(connection):
            expected = self._positions[schemas[0]]
            checkpoints, rows = await self._begin(connection, schemas, expected, events_max)
            led, are_apart = await self._whose_turn(connection, checkpoints)
            self.led_from, names = led[0].position, tuple(row.schema for row in led)
            if are_apart:
                events_max = min(events_max, self._limits.turn_events_max)
            if are_apart or self.led_from != expected:
                rows = await self._reader.rows(connection, self.led_from, events_max)
            position = await self._fold(connection, names, rows) if rows else self.led_from
        return Folded(names, position, are_apart or len(rows) == events_max)

    async def _begin(
        self, connection: AsyncConnection, schemas: Sequence[str], expected: int, events_max: int
    ) -> tuple[list[Checkpoint], Rows]:
        """In one round trip: as a rule a batch begins where the last one ended."""
        async with connection.pipeline():
            await connection.execute(_BEGIN, prepare=True)
            allowed = await ask_to_fold(connection, self._changes.tag)
            asked = await ask_to_lead(connection, schemas)
            page = await self._reader.ask(connection, expected, events_max)
            if (True,) not in await allowed.fetchall():
                raise NotOurs
            return [Checkpoint(*row) for row in await asked.fetchall()], await page.fetchall()

    async def _whose_turn(
        self, connection: AsyncConnection, checkpoints: Sequence[Checkpoint]
    ) -> tuple[list[Checkpoint], bool]:
        """Those at one place, and whether others stand elsewhere: then each place has its turn.

        Skips are looked at with the rows in hand, for whoever skips an event holds them too.
        """
        free = [row for row in checkpoints if await self._following.may_lead(connection, row)]
        if not free:
            raise NotOurs
        places = sorted({row.position for row in free}, reverse=True)
        place = places[self._turn % len(places)]
        self._turn += 1
        return [row for row in free if row.position == place], len(places) > 1

    async def _fold(self, connection: AsyncConnection, names: tuple[str, ...], rows: Rows) -> int:
        followed = [self._following[name] for name in names]
        batch = await self._reader.read(connection, rows, _topics(followed), _left_out(followed))
        applied = await apply(connection, followed, batch)
        position = batch[-1].position
        changing = self._changes.begin(applied.accounts)
        async with connection.pipeline():
            for write in applied.writes:
                await connection.execute(write.statement, write.values, prepare=True)
            await move(connection, names, position, self._name)
            await connection.execute(_COMMIT, prepare=True)
        self._changes.end(changing)
        return position


def _topics(followed: Sequence[Followed]) -> frozenset[str]:
    return frozenset().union(*(one.projection.topics for one in followed))


def _left_out(followed: Sequence[Followed]) -> frozenset[int]:
    """What one of them leaves out is decoded for the others."""
    return frozenset.intersection(*(one.skips.positions for one in followed))


@asynccontextmanager
async def _undone_on_failure(connection: AsyncConnection) -> AsyncIterator[None]:
    """Nothing stays begun: a transaction that was not committed by its own last statement is rolled back."""
    try:
        yield
    finally:
        with suppress(psycopg.Error):
            await connection.rollback()
