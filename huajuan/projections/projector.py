"""All projections of a process, running side by side, and the wait for one's own writes."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager

from huajuan.event_store.ending import end
from huajuan.event_store.reading import LogReader
from huajuan.event_store.store import EventStore
from huajuan.projections.limits import ProjectionLimits
from huajuan.projections.positions import Positions
from huajuan.projections.projection import Projection
from huajuan.projections.runner import Runner
from huajuan.projections.signals import Ear, Signals


class Projector:
    """Use as made by `open_projector`."""

    def __init__(
        self,
        dsn: str,
        store: EventStore,
        projections: Iterable[Projection],
        limits: ProjectionLimits,
        ears: Mapping[str, Ear],
    ) -> None:
        reader = LogReader(store.mapper, store.keys)
        self.positions = Positions()
        self.runners = [Runner(dsn, p, reader, self.positions, limits) for p in projections]
        self._signals = Signals(dsn, self.runners, self.positions, limits, store.writer_backend, ears)
        self._tasks: list[asyncio.Task[None]] = []
        store.on_appended.append(self._appended_here)

    def start(self) -> None:
        self._tasks = [asyncio.create_task(r.run(), name=r.projection.schema) for r in self.runners]
        self._tasks.append(asyncio.create_task(self._signals.run(), name="signals"))

    async def stop(self) -> None:
        await end(self._tasks)

    def is_alive(self) -> bool:
        return bool(self._tasks) and not any(task.done() for task in self._tasks)

    async def reach(self, position: int, *projections: Projection, seconds_max: float) -> bool:
        """Wait until these tables show what was appended up to `position`; false if they do not yet."""
        return await self.positions.reach((p.schema for p in projections), position, seconds_max)

    async def move(self, projection: Projection, seconds_max: float) -> None:
        """Wait until this table has folded more of the log, or for so long; a stopped one folds no more."""
        name = projection.schema
        if self.positions.is_stopped(name):
            await asyncio.sleep(seconds_max)
        else:
            await self.positions.reach([name], self.positions[name] + 1, seconds_max)

    def _appended_here(self, position: int) -> None:
        for runner in self.runners:
            runner.appended_here(position)


@asynccontextmanager
async def open_projector(
    dsn: str,
    store: EventStore,
    projections: Iterable[Projection],
    limits: ProjectionLimits | None = None,
    ears: Mapping[str, Ear] | None = None,
) -> AsyncIterator[Projector]:
    """Runs the projections on read tables that are made; `ears` hear channels of their own."""
    projector = Projector(dsn, store, projections, limits or ProjectionLimits(), ears or {})
    projector.start()
    try:
        yield projector
    finally:
        await projector.stop()
