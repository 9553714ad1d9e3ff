"""Runs all projections of a process, and waits until they show the process's own writes."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager

from huajuan.event_store.log_reader import LogReader
from huajuan.event_store.store import EventStore
from huajuan.projections.engine.notifications import (
    NotificationListener,
    NotificationSubscriber,
    PositionPublisher,
)
from huajuan.projections.engine.positions import Positions
from huajuan.projections.engine.projection import Projection, ProjectionLimits
from huajuan.projections.engine.projection_set import ProjectionSet
from huajuan.projections.engine.runner import ProjectionRunner
from huajuan.response_cache.versions import CacheVersions, private_versions
from huajuan.runtime.periodic import cancel_tasks


class Projector:
    """Made by `open_projector`."""

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
        self._publisher = PositionPublisher(dsn, limits)
        self.versions = versions or private_versions(self._projections.schemas)
        reader = LogReader(store.mapper, store.keys, store.event_clock)
        self._runner = ProjectionRunner(
            dsn, self._projections, reader, self.positions, limits, self._publisher, self.versions
        )
        self._listener = NotificationListener(
            dsn,
            self._appended_elsewhere,
            self.positions,
            limits,
            (store.writer_backend, lambda: self._publisher.backend),
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
