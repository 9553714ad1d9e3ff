"""All projections of a process, running side by side, and the wait for one's own writes."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager

from huajuan.event_store.log_reader import LogReader
from huajuan.event_store.store import EventStore
from huajuan.projections.engine.limits import ProjectionLimits
from huajuan.projections.engine.notification_listener import Ear, Signals
from huajuan.projections.engine.position_publisher import Teller
from huajuan.projections.engine.positions import Positions
from huajuan.projections.engine.projection import Projection
from huajuan.projections.engine.projection_set import Following
from huajuan.projections.engine.runner import Runner
from huajuan.response_cache.versions import Changes, own_changes
from huajuan.runtime.cancel_tasks import end


class Projector:
    """Use as made by `open_projector`."""

    def __init__(
        self,
        dsn: str,
        store: EventStore,
        projections: Iterable[Projection],
        limits: ProjectionLimits,
        ears: Mapping[str, Ear],
        changes: Changes | None = None,
    ) -> None:
        self.positions = Positions()
        self._following = Following(projections, self.positions)
        self._teller = Teller(dsn, limits)
        reader = LogReader(store.mapper, store.keys, store.facts)
        self.changes = changes or own_changes(self._following.schemas)
        self._runner = Runner(
            dsn, self._following, reader, self.positions, limits, self._teller, self.changes
        )
        own_backends = (store.writer_backend, lambda: self._teller.backend)
        self._signals = Signals(
            dsn, self._appended_elsewhere, self.positions, limits, own_backends, ears, self.changes.tag
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._head = store.head
        store.on_appended.append(lambda _: self._runner.appended_here())

    @property
    def projections(self) -> list[Projection]:
        return self._following.projections

    def start(self) -> None:
        kinds = (self._runner, self._teller, self._signals)
        self._tasks = [asyncio.create_task(kind.run(), name=type(kind).__name__) for kind in kinds]

    async def stop(self) -> None:
        await end(self._tasks)

    def _appended_elsewhere(self) -> None:
        self._runner.appended_elsewhere()
        self._head.moved()

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


@asynccontextmanager
async def open_projector(
    dsn: str,
    store: EventStore,
    projections: Iterable[Projection],
    limits: ProjectionLimits | None = None,
    ears: Mapping[str, Ear] | None = None,
    changes: Changes | None = None,
) -> AsyncIterator[Projector]:
    """Runs the projections on read tables that are made; `ears` hear channels of their own.

    `changes` are shared with the server's other workers, if there are any.
    """
    projector = Projector(dsn, store, projections, limits or ProjectionLimits(), ears or {}, changes)
    projector.start()
    try:
        yield projector
    finally:
        await projector.stop()
