"""Runs the projections live, exactly once, and waits until they show the process's own writes."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

import structlog
from psycopg import AsyncConnection, sql

from huajuan.event_store.store import EventStore
from huajuan.postgres.connect import connect
from huajuan.postgres.retry import OUTAGES
from huajuan.projections.engine.batch import BatchFolder, CheckpointLocked, ProjectionSet
from huajuan.projections.engine.checkpoints import (
    AHEAD_OF_LOG,
    Checkpoint,
    Positions,
    process_name,
    read_checkpoints,
    stop_projection,
)
from huajuan.projections.engine.fold import FoldFailed
from huajuan.projections.engine.notifications import (
    STOPPED,
    NotificationListener,
    NotificationSubscriber,
    PositionPublisher,
    run_connected,
)
from huajuan.projections.engine.projection import Projection, ProjectionLimits
from huajuan.response_cache.versions import CacheVersions, private_versions
from huajuan.runtime.periodic import cancel_tasks

_logger = structlog.get_logger(__name__)


class ProjectionRunner:
    """One a process. The process that locks the checkpoints folds new events. Rows and checkpoints commit
    together, so after a crash events are folded again.

    It wakes up after an append, and polls for appends of which it got no notification.
    """

    def __init__(self, dsn: str, folder: BatchFolder, publisher: PositionPublisher) -> None:
        self._dsn = dsn
        self._folder = folder
        self._publisher = publisher
        self._projections, self._positions = folder.projections, folder.positions
        self._limits = folder.limits
        self._wakeup = asyncio.Event()
        self._grace: asyncio.TimerHandle | None = None

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
        self._positions.reset({row.schema: row.position for row in found})
        while True:
            if self._wakeup.is_set() or await self._is_behind(connection):
                self._wakeup.clear()
                schemas, events_max = self._projections.schemas, self._limits.batch_events_max
                while await self._fold_waiting(connection, schemas, events_max):
                    pass
            with suppress(TimeoutError):
                async with asyncio.timeout(self._limits.poll_seconds):
                    await self._wakeup.wait()

    async def _read_checkpoints(self, connection: AsyncConnection) -> list[Checkpoint]:
        """Stops projections that are ahead of the log: they would miss new events at these positions."""
        found = await read_checkpoints(connection, self._projections.schemas)
        ahead = [row for row in found if row.position > row.head and row.stopped_by != AHEAD_OF_LOG]
        for row in ahead:
            await self._stop(connection, row.schema, row.position, AHEAD_OF_LOG)
            _logger.error(
                "projection is ahead of the log", projection=row.schema, repair_with="huajuan rebuild"
            )
        return await read_checkpoints(connection, self._projections.schemas) if ahead else found

    async def _is_behind(self, connection: AsyncConnection) -> bool:
        """Polls without locking a row."""
        found = await self._read_checkpoints(connection)
        # A list: `may_lock` also marks the stopped ones, so it must run for each of them.
        free = [row for row in found if await self._projections.may_lock(connection, row)]
        # Not those: to advance one would unmark it, and a reader would wait for it.
        self._positions.advance({row.schema: row.position for row in free})
        return any(row.head > row.position for row in free)

    async def _fold_waiting(
        self, connection: AsyncConnection, schemas: Sequence[str], events_max: int
    ) -> bool:
        """Fold one batch if the checkpoints can be locked. Returns whether more events may be waiting.

        If a batch fails, each projection folds it alone. The one that fails again folds smaller and smaller
        batches up to the failing event, which then stops it.
        """
        while True:
            try:
                folded = await self._folder.fold(connection, schemas, events_max)
                self._positions.advance(dict.fromkeys(folded.schemas, folded.position))
                self._publisher.publish(folded.schemas, folded.position)
                return folded.is_more
            except CheckpointLocked:
                return False
            except OUTAGES:
                raise
            except Exception as error:  # noqa: BLE001  a failing fold stops only its own projection
                failure = error.__cause__ if isinstance(error, FoldFailed) else error
            if len(schemas) > 1:
                return any([await self._fold_waiting(connection, [one], events_max) for one in schemas])
            if events_max == 1:
                position = self._folder.start_position + 1
                await self._stop(connection, schemas[0], position, type(failure).__name__)
                _logger.error(
                    "projection stopped", projection=schemas[0], position=position, exc_info=failure
                )
                return False
            events_max //= 2

    async def _stop(self, connection: AsyncConnection, schema: str, position: int, kind: str) -> None:
        await stop_projection(connection, schema, position, kind, process_name())
        self._projections.mark_stopped(schema)
        self._publisher.publish([schema], STOPPED)


class Projector:
    """Runs all projections of a process. Made by `open_projector`."""

    def __init__(
        self,
        dsn: str,
        store: EventStore,
        projections: Iterable[Projection],
        limits: ProjectionLimits,
        subscribers: Mapping[str, NotificationSubscriber],
        versions: CacheVersions | None = None,
    ) -> None:
        self.positions = Positions()
        self._projections = ProjectionSet(projections, self.positions)
        self.versions = versions or private_versions(self._projections.schemas)
        self._publisher = PositionPublisher(dsn, limits)
        folder = BatchFolder(self._projections, store, self.positions, limits, self.versions)
        self._runner = ProjectionRunner(dsn, folder, self._publisher)
        own_backends = (store.writer_backend, lambda: self._publisher.backend)
        self._listener = NotificationListener(
            dsn,
            self._appended_elsewhere,
            self.positions,
            limits,
            own_backends,
            subscribers,
            self.versions.holder,
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._head_moved = store.head_moved
        store.on_appended.append(lambda _: self._runner.appended_here())

    @property
    def projections(self) -> list[Projection]:
        return self._projections.projections

    def start(self) -> None:
        parts = (self._runner, self._publisher, self._listener)
        self._tasks = [asyncio.create_task(part.run(), name=type(part).__name__) for part in parts]

    async def stop(self) -> None:
        await cancel_tasks(self._tasks)

    def _appended_elsewhere(self) -> None:
        self._runner.appended_elsewhere()
        self._head_moved()

    def is_alive(self) -> bool:
        return bool(self._tasks) and not any(task.done() for task in self._tasks)

    async def wait_for_position(self, position: int, *projections: Projection, seconds_max: float) -> bool:
        """Wait until these tables show the log up to `position`; false if they do not yet."""
        schemas = (projection.schema for projection in projections)
        return await self.positions.wait_for_position(schemas, position, seconds_max)

    async def wait_for_progress(self, projection: Projection, seconds_max: float) -> None:
        """Wait until this table has folded more of the log, at most `seconds_max`."""
        name = projection.schema
        if self.positions.is_stopped(name):
            await asyncio.sleep(seconds_max)
        else:
            await self.positions.wait_for_position([name], self.positions[name] + 1, seconds_max)


@asynccontextmanager
async def open_projector(
    dsn: str,
    store: EventStore,
    projections: Iterable[Projection],
    limits: ProjectionLimits | None = None,
    subscribers: Mapping[str, NotificationSubscriber] | None = None,
    versions: CacheVersions | None = None,
) -> AsyncIterator[Projector]:
    """Runs the projections; their tables must exist. `versions` are shared by the server's workers."""
    projector = Projector(dsn, store, projections, limits or ProjectionLimits(), subscribers or {}, versions)
    projector.start()
    try:
        yield projector
    finally:
        await projector.stop()
