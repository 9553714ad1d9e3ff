"""The projections that a process folds, with their skips, and which of them are stopped."""

from collections.abc import Iterable

import structlog
from psycopg import AsyncConnection

from huajuan.projections.engine.apply import ActiveProjection
from huajuan.projections.engine.checkpoints import AHEAD_OF_LOG, Checkpoint
from huajuan.projections.engine.positions import Positions
from huajuan.projections.engine.projection import Projection
from huajuan.projections.engine.skips import load_skips, skips_of_older_versions

_logger = structlog.get_logger(__name__)


class ProjectionSet:
    """One a process. Names are the projections' schemas."""

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
        for projection in self.projections:
            await self._load_skips(connection, projection)
            if ignored := await skips_of_older_versions(connection, projection):
                _logger.warning(
                    "skips of an older version are ignored",
                    projection=projection.schema,
                    positions=sorted(ignored),
                )

    async def may_lock(self, connection: AsyncConnection, row: Checkpoint) -> bool:
        """Whether to fold on from this checkpoint: a stopped one only if its event was skipped meanwhile."""
        if row.stopped_at is None:
            return True
        if row.stopped_by == AHEAD_OF_LOG:
            self._positions.mark_stopped(row.schema)
            return False
        await self._load_skips(connection, self[row.schema].projection)
        if row.schema in self._may_retry or row.stopped_at in self[row.schema].skips.positions:
            return True
        self._positions.mark_stopped(row.schema)
        return False

    def mark_stopped(self, schema: str) -> None:
        """This process stopped the projection and does not try it again."""
        self._may_retry.discard(schema)
        self._positions.mark_stopped(schema)

    async def _load_skips(self, connection: AsyncConnection, projection: Projection) -> None:
        skips = await load_skips(connection, projection)
        self._active[projection.schema] = ActiveProjection(projection, skips)
