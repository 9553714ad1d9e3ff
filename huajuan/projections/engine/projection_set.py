"""Which projections a process folds, what each leaves out, and which of them are stopped for it."""

from collections.abc import Iterable

import structlog
from psycopg import AsyncConnection

from huajuan.projections.engine.apply import Followed
from huajuan.projections.engine.checkpoint_lock import AHEAD_OF_LOG, Checkpoint
from huajuan.projections.engine.positions import Positions
from huajuan.projections.engine.projection import Projection
from huajuan.projections.engine.skips import ignored, skipped

_logger = structlog.get_logger(__name__)


class Following:
    """One a process. Names are the projections' schemas."""

    def __init__(self, projections: Iterable[Projection], positions: Positions) -> None:
        self._followed = {projection.schema: Followed(projection) for projection in projections}
        self._positions = positions
        # A stopped projection is tried once more by each process that starts: it may know better.
        self._may_retry = set(self._followed)

    def __getitem__(self, schema: str) -> Followed:
        return self._followed[schema]

    @property
    def schemas(self) -> tuple[str, ...]:
        return tuple(self._followed)

    @property
    def projections(self) -> list[Projection]:
        return [followed.projection for followed in self._followed.values()]

    async def learn_skips(self, connection: AsyncConnection) -> None:
        for projection in self.projections:
            await self._learn(connection, projection)
            if old := await ignored(connection, projection):
                _logger.warning(
                    "skips made for an older version are ignored",
                    projection=projection.schema,
                    positions=sorted(old),
                )

    async def may_lead(self, connection: AsyncConnection, row: Checkpoint) -> bool:
        """Whether to go on where the projection stopped: the culprit may have been skipped meanwhile."""
        if row.stopped_at is None:
            return True
        if row.stopped_by == AHEAD_OF_LOG:
            self._positions.stopped(row.schema)
            return False
        await self._learn(connection, self[row.schema].projection)
        if row.schema in self._may_retry or row.stopped_at in self[row.schema].skips.positions:
            return True
        self._positions.stopped(row.schema)
        return False

    def stopped(self, schema: str) -> None:
        """By this process, which knows nothing better."""
        self._may_retry.discard(schema)
        self._positions.stopped(schema)

    async def _learn(self, connection: AsyncConnection, projection: Projection) -> None:
        self._followed[projection.schema] = Followed(projection, await skipped(connection, projection))
