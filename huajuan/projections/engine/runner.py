"""Runs the projections live: the process that locks their checkpoints folds new events, exactly once."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import structlog
from psycopg import AsyncConnection, sql

from huajuan.event_store.log_reader import LogReader
from huajuan.postgres.connect import connect
from huajuan.postgres.errors import OUTAGES
from huajuan.projections.engine.batch import BatchFolder, CheckpointLocked
from huajuan.projections.engine.checkpoints import (
    AHEAD_OF_LOG,
    CheckpointAndHead,
    process_name,
    read_checkpoints,
    stop_projection,
)
from huajuan.projections.engine.notifications import STOPPED, PositionPublisher, run_connected
from huajuan.projections.engine.positions import Positions
from huajuan.projections.engine.projection import ProjectionLimits
from huajuan.projections.engine.projection_set import ProjectionSet
from huajuan.response_cache.versions import CacheVersions

_logger = structlog.get_logger(__name__)


class ProjectionRunner:
    """One a process. Rows and checkpoints commit together, so after a crash events are folded again.

    It wakes up after an append, and polls for appends of which it got no notification.
    """

    def __init__(
        self,
        dsn: str,
        projections: ProjectionSet,
        reader: LogReader,
        positions: Positions,
        limits: ProjectionLimits,
        publisher: PositionPublisher,
        versions: CacheVersions,
    ) -> None:
        self._dsn = dsn
        self._projections = projections
        self._positions = positions
        self._limits = limits
        self._publisher = publisher
        self._folder = BatchFolder(projections, reader, positions, limits, versions)
        self._wakeup = asyncio.Event()
        self._grace: asyncio.TimerHandle | None = None
        self._name = process_name()

    def appended_here(self) -> None:
        self._wakeup.set()

    def appended_elsewhere(self) -> None:
        """Wake up after a grace period: the process that appended is likely to fold as well."""
        if self._grace is None:
            loop = asyncio.get_running_loop()
            self._grace = loop.call_later(self._limits.foreign_grace_seconds, self._end_grace)

    def _end_grace(self) -> None:
        self._grace = None
        self._wakeup.set()

    async def run(self) -> None:
        """Runs until cancelled, through outages of Postgres."""
        await run_connected(self._connect, self._run, self._limits, "projections wait")

    async def _connect(self) -> AsyncConnection:
        """The search path finds the tables. Writes that a crash of Postgres loses are folded again."""
        path = sql.SQL(", ").join(map(sql.Identifier, self._projections.schemas))
        return await connect(
            self._dsn,
            self._limits.connect_seconds_max,
            sql.SQL("SET search_path = {}").format(path),
            "SET synchronous_commit = off",
        )

    async def _run(self, connection: AsyncConnection) -> None:
        await self._projections.load_skips(connection)
        found = await self._read_checkpoints(connection)
        self._positions.reset({row.schema: row.position for row, _ in found})
        while True:
            if self._wakeup.is_set() or await self._is_behind(connection):
                self._wakeup.clear()
                schemas, events_max = self._projections.schemas, self._limits.batch_events_max
                while await self._fold_waiting(connection, schemas, events_max):
                    pass
            with suppress(TimeoutError):
                async with asyncio.timeout(self._limits.poll_seconds):
                    await self._wakeup.wait()

    async def _read_checkpoints(self, connection: AsyncConnection) -> list[CheckpointAndHead]:
        """Stops projections that are ahead of the log: they would miss new events at these positions."""
        found = await read_checkpoints(connection, self._projections.schemas)
        ahead = [row for row, head in found if row.position > head and row.stopped_by != AHEAD_OF_LOG]
        for row in ahead:
            await stop_projection(connection, row.schema, row.position, AHEAD_OF_LOG, self._name)
            _logger.error(
                "projection is ahead of the log", projection=row.schema, repair_with="huajuan rebuild"
            )
            self._projections.mark_stopped(row.schema)
            self._publisher.publish([row.schema], STOPPED)
        return await read_checkpoints(connection, self._projections.schemas) if ahead else found

    async def _is_behind(self, connection: AsyncConnection) -> bool:
        """Polls without locking a row."""
        found = await self._read_checkpoints(connection)
        self._positions.advance({row.schema: row.position for row, _ in found})
        # A list: `may_lock` also marks the stopped ones, so it must run for each of them.
        free = [
            head > row.position for row, head in found if await self._projections.may_lock(connection, row)
        ]
        return any(free)

    async def _fold_waiting(
        self, connection: AsyncConnection, schemas: Sequence[str], events_max: int
    ) -> bool:
        """Fold one batch if the checkpoints can be locked. Returns whether more events may be waiting.

        If a batch fails, each projection folds it alone. The one that fails again folds smaller and smaller
        batches up to the failing event, which then stops it.
        """
        while True:
            try:
                return await self._fold(connection, schemas, events_max)
            except CheckpointLocked:
                return False
            except OUTAGES:
                raise
            except Exception as error:  # noqa: BLE001  a failing fold stops only its own projection
                failure = error
            if len(schemas) > 1:
                return any([await self._fold_waiting(connection, [one], events_max) for one in schemas])
            if events_max == 1:
                await self._stop(connection, schemas[0], self._folder.start_position + 1, failure)
                return False
            events_max //= 2

    async def _fold(self, connection: AsyncConnection, schemas: Sequence[str], events_max: int) -> bool:
        folded = await self._folder.fold(connection, schemas, events_max)
        self._positions.advance(dict.fromkeys(folded.schemas, folded.position))
        self._publisher.publish(folded.schemas, folded.position)
        return folded.is_more

    async def _stop(self, connection: AsyncConnection, schema: str, position: int, error: Exception) -> None:
        await stop_projection(connection, schema, position, type(error).__name__, self._name)
        _logger.error("projection stopped", projection=schema, position=position, exc_info=error)
        self._projections.mark_stopped(schema)
        self._publisher.publish([schema], STOPPED)
