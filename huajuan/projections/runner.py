"""Runs one projection live: whoever holds its checkpoint row folds what is waiting, exactly once."""

import asyncio
from contextlib import suppress

import psycopg
import structlog
from psycopg import sql

from huajuan.event_store.connecting import connect
from huajuan.event_store.outages import OUTAGES
from huajuan.event_store.reading import LogReader
from huajuan.projections.checkpoints import RATE_SECONDS
from huajuan.projections.engine import apply
from huajuan.projections.limits import ProjectionLimits
from huajuan.projections.positions import Positions
from huajuan.projections.process import own_name
from huajuan.projections.projection import NO_SKIPS, Projection
from huajuan.projections.skips import ignored, skipped

POSITIONS_CHANNEL = "huajuan_positions"
STOPPED = "stopped"
# The row is position, leadership and fail-over at once: who cannot lock it does not lead.
_LEAD = """
SELECT position, stopped_at FROM operations.checkpoints WHERE projection = %b FOR UPDATE SKIP LOCKED
"""
# The rate is an average in which what is `RATE_SECONDS` old counts for a third of what is new.
_MOVE = f"""
UPDATE operations.checkpoints
   SET rate = rate * exp(-least(greatest(extract(epoch FROM now() - moved_at)::float8, 0) / {RATE_SECONDS}, 50))
              + (%b - position) / {RATE_SECONDS}::float8,
       position = %b, moved_at = now(), leader = %b, stopped_at = NULL, stopped_by = NULL
 WHERE projection = %b
"""
_LOOK = """
SELECT position, (SELECT coalesce(max(notification_id), 0) FROM log.huajuan_events), stopped_at
  FROM operations.checkpoints WHERE projection = %b
"""
_STOP = (
    "UPDATE operations.checkpoints SET stopped_at = %b, stopped_by = %b, leader = %b WHERE projection = %b"
)
_TELL = "SELECT pg_notify(%b, %b)"
_logger = structlog.get_logger(__name__)


class Runner:
    """One a projection and process. Rows and position commit together, so a crash only means folding again."""

    def __init__(
        self,
        dsn: str,
        projection: Projection,
        reader: LogReader,
        positions: Positions,
        limits: ProjectionLimits,
    ) -> None:
        self.projection = projection
        self._dsn = dsn
        self._reader = reader
        self._positions = positions
        self._limits = limits
        self._wake = asyncio.Event()
        self._grace: asyncio.TimerHandle | None = None
        # A stopped projection is tried once more by each process that starts: it may know better.
        self._may_retry_stopped = True
        self._led_from = 0
        self._name = own_name()
        self._skips = NO_SKIPS

    def appended_here(self, position: int) -> None:
        if position > self._positions[self.projection.schema]:
            self._wake.set()

    def appended_elsewhere(self) -> None:
        if self._grace is None:
            loop = asyncio.get_running_loop()
            self._grace = loop.call_later(self._limits.foreign_grace_seconds, self._end_grace)

    def _end_grace(self) -> None:
        self._grace = None
        self._wake.set()

    async def run(self) -> None:
        """For ever; a database that is away is waited for."""
        pause = self._limits.retry_pause_seconds
        while True:
            try:
                async with await self._connect() as connection:
                    pause = self._limits.retry_pause_seconds
                    await self._learn_skips(connection)
                    await self._fold_for_ever(connection)
            except OUTAGES as error:
                _logger.warning(
                    "projection waits", projection=self.projection.schema, error=type(error).__name__
                )
            await asyncio.sleep(pause)
            pause = min(pause * 2, self._limits.retry_pause_seconds_max)

    async def _connect(self) -> psycopg.AsyncConnection:
        """Its table is found on the search path; what a crash loses of it is folded again."""
        return await connect(
            self._dsn,
            self._limits.connect_seconds_max,
            sql.SQL("SET search_path = {}").format(sql.Identifier(self.projection.schema)),
            "SET synchronous_commit = off",
            "SET default_transaction_isolation = 'read committed'",
        )

    async def _learn_skips(self, connection: psycopg.AsyncConnection) -> None:
        self._skips = await skipped(connection, self.projection)
        if old := await ignored(connection, self.projection):
            _logger.warning(
                "skips made for an older version are ignored",
                projection=self.projection.schema,
                positions=sorted(old),
            )

    async def _fold_for_ever(self, connection: psycopg.AsyncConnection) -> None:
        while True:
            if self._wake.is_set() or await self._is_behind(connection):
                self._wake.clear()
                while await self.fold_waiting(connection, self._limits.batch_events_max):
                    pass
            await self._wait()

    async def _wait(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limits.poll_seconds):
                await self._wake.wait()

    async def _is_behind(self, connection: psycopg.AsyncConnection) -> bool:
        """Asked when nobody rang: in silence no row is locked."""
        cursor = await connection.execute(_LOOK, (self.projection.schema,), prepare=True)
        row = await cursor.fetchone()
        position, head, stopped_at = row or (0, 0, None)
        await self._positions.moved(self.projection.schema, position)
        if stopped_at is not None and not await self._may_pass(connection, stopped_at):
            await self._positions.stopped(self.projection.schema)
            return False
        return int(head) > int(position)

    async def _may_pass(self, connection: psycopg.AsyncConnection, stopped_at: int) -> bool:
        """Whether to go on where the projection stopped: the culprit may have been skipped meanwhile."""
        self._skips = await skipped(connection, self.projection)
        return self._may_retry_stopped or stopped_at in self._skips.positions

    async def fold_waiting(self, connection: psycopg.AsyncConnection, events_max: int) -> bool:
        """Fold one batch if this process leads; whether more may be waiting.

        Where a batch fails, smaller ones fold what comes before the culprit; alone, it stops the projection.
        """
        while True:
            try:
                return await self._fold_and_commit(connection, events_max)
            except _NotOurs:
                return False
            except OUTAGES:
                raise
            except Exception as error:  # noqa: BLE001  a fold's failure stops its projection, nothing else
                failure = error
            if events_max == 1:
                await self._stop(connection, self._led_from + 1, failure)
                return False
            events_max //= 2

    async def _fold_and_commit(self, connection: psycopg.AsyncConnection, events_max: int) -> bool:
        async with connection.transaction():
            folded, position = await self._fold_batch(connection, events_max)
        await self._positions.moved(self.projection.schema, position)
        return folded == events_max

    async def _fold_batch(self, connection: psycopg.AsyncConnection, events_max: int) -> tuple[int, int]:
        """How many events were folded, and the position reached."""
        self._led_from = await self._lead(connection)
        batch = await self._reader.page(
            connection, self._led_from, events_max, self.projection.topics, self._skips.positions
        )
        if not batch:
            return 0, self._led_from
        await apply(connection, self.projection, batch, self._skips)
        await self._move(connection, batch[-1].position)
        return len(batch), batch[-1].position

    async def _lead(self, connection: psycopg.AsyncConnection) -> int:
        cursor = await connection.execute(_LEAD, (self.projection.schema,), prepare=True)
        row = await cursor.fetchone()
        position, stopped_at = row or (None, None)
        # Skips are looked at with the row in hand, for whoever skips an event holds it too.
        if position is None or (stopped_at is not None and not await self._may_pass(connection, stopped_at)):
            raise _NotOurs
        return int(position)

    async def _move(self, connection: psycopg.AsyncConnection, position: int) -> None:
        schema = self.projection.schema
        async with connection.pipeline():
            values = (position, position, self._name, schema)
            await connection.execute(_MOVE.encode(), values, prepare=True)
            await connection.execute(_TELL, (POSITIONS_CHANNEL, f"{schema} {position}"), prepare=True)

    async def _stop(self, connection: psycopg.AsyncConnection, position: int, error: Exception) -> None:
        schema = self.projection.schema
        self._may_retry_stopped = False
        async with connection.transaction():
            await connection.execute(_STOP, (position, type(error).__name__, self._name, schema))
            await connection.execute(_TELL, (POSITIONS_CHANNEL, f"{schema} {STOPPED}"))
        _logger.error("projection stopped", projection=schema, position=position, exc_info=error)
        await self._positions.stopped(schema)


class _NotOurs(Exception):
    """Another process leads, or the projection is stopped."""
