"""Runs the projections live: whoever holds their checkpoint rows folds what is waiting, exactly once."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import structlog
from psycopg import AsyncConnection, sql

from huajuan.event_store.log_reader import LogReader
from huajuan.postgres.connect import connect
from huajuan.postgres.retry import OUTAGES
from huajuan.projections.engine.batch import Batches, NotOurs
from huajuan.projections.engine.checkpoint_lock import AHEAD_OF_LOG, Seen, look, stop
from huajuan.projections.engine.limits import ProjectionLimits
from huajuan.projections.engine.position_publisher import STOPPED, Teller
from huajuan.projections.engine.positions import Positions
from huajuan.projections.engine.process_name import own_name
from huajuan.projections.engine.projection_set import Following
from huajuan.projections.engine.reconnect import stay_connected
from huajuan.response_cache.versions import Changes

_logger = structlog.get_logger(__name__)


class Runner:
    """One a process, for all its projections. Those that it may lead and that stand at one place are folded
    together; rows and positions commit together, so a crash only means folding again.
    """

    def __init__(
        self,
        dsn: str,
        following: Following,
        reader: LogReader,
        positions: Positions,
        limits: ProjectionLimits,
        teller: Teller,
        changes: Changes,
    ) -> None:
        self._dsn = dsn
        self._following = following
        self._positions = positions
        self._limits = limits
        self._teller = teller
        self._batches = Batches(following, reader, positions, limits, changes)
        self._wake = asyncio.Event()
        self._grace: asyncio.TimerHandle | None = None
        self._name = own_name()

    def appended_here(self) -> None:
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
        await stay_connected(self._connect, self._work, self._limits, "projections wait")

    async def _work(self, connection: AsyncConnection) -> None:
        await self._following.learn_skips(connection)
        seen = await self._look(connection)
        self._positions.are({row.schema: row.position for row, _ in seen})
        await self._fold_for_ever(connection)

    async def _connect(self) -> AsyncConnection:
        """Tables are found on the search path; what a crash loses of them is folded again."""
        path = sql.SQL(", ").join(map(sql.Identifier, self._following.schemas))
        return await connect(
            self._dsn,
            self._limits.connect_seconds_max,
            sql.SQL("SET search_path = {}").format(path),
            "SET synchronous_commit = off",
        )

    async def _fold_for_ever(self, connection: AsyncConnection) -> None:
        while True:
            if self._wake.is_set() or await self._is_behind(connection):
                self._wake.clear()
                schemas, most = self._following.schemas, self._limits.batch_events_max
                while await self._fold_waiting(connection, schemas, most):
                    pass
            await self._wait()

    async def _wait(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limits.poll_seconds):
                await self._wake.wait()

    async def _look(self, connection: AsyncConnection) -> list[Seen]:
        """Stops those that are ahead of the log: they would pass over what is appended at those positions anew."""
        seen = await look(connection, self._following.schemas)
        ahead = [row for row, head in seen if row.position > head and row.stopped_by != AHEAD_OF_LOG]
        for row in ahead:
            await stop(connection, row.schema, row.position, AHEAD_OF_LOG, self._name)
            _logger.error(
                "projection is ahead of the log", projection=row.schema, mend_with="huajuan rebuild"
            )
            self._following.stopped(row.schema)
            self._teller.tell([row.schema], STOPPED)
        return await look(connection, self._following.schemas) if ahead else seen

    async def _is_behind(self, connection: AsyncConnection) -> bool:
        """Asked when nobody rang: in silence no row is locked."""
        seen = await self._look(connection)
        self._positions.moved({row.schema: row.position for row, _ in seen})
        # Each is asked, for that is how it is known here that one is stopped.
        free = [head > row.position for row, head in seen if await self._following.may_lead(connection, row)]
        return any(free)

    async def _fold_waiting(
        self, connection: AsyncConnection, schemas: Sequence[str], events_max: int
    ) -> bool:
        """Fold one batch if this process leads; whether more may be waiting.

        Where a batch fails, each projection folds it alone. Of one that fails again, smaller batches fold what
        comes before the culprit; alone, it stops the projection.
        """
        while True:
            try:
                return await self._fold(connection, schemas, events_max)
            except NotOurs:
                return False
            except OUTAGES:
                raise
            except Exception as error:  # noqa: BLE001  a fold's failure stops its projection, nothing else
                failure = error
            if len(schemas) > 1:
                return any([await self._fold_waiting(connection, [one], events_max) for one in schemas])
            if events_max == 1:
                await self._stop(connection, schemas[0], self._batches.led_from + 1, failure)
                return False
            events_max //= 2

    async def _fold(self, connection: AsyncConnection, schemas: Sequence[str], events_max: int) -> bool:
        folded = await self._batches.fold(connection, schemas, events_max)
        self._positions.moved(dict.fromkeys(folded.schemas, folded.position))
        self._teller.tell(folded.schemas, folded.position)
        return folded.is_more

    async def _stop(self, connection: AsyncConnection, schema: str, position: int, error: Exception) -> None:
        kind = type(error).__name__
        await stop(connection, schema, position, kind, self._name)
        _logger.error("projection stopped", projection=schema, position=position, exc_info=error)
        self._following.stopped(schema)
        self._teller.tell([schema], STOPPED)
