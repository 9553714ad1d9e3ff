"""Work that goes on for ever over a connection of its own, through whatever outages of Postgres there are."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from psycopg import AsyncConnection

from huajuan.postgres.retry import OUTAGES
from huajuan.projections.engine.limits import ProjectionLimits

_logger = structlog.get_logger(__name__)


async def stay_connected(
    connect: Callable[[], Awaitable[AsyncConnection]],
    work: Callable[[AsyncConnection], Awaitable[None]],
    limits: ProjectionLimits,
    lost: str,
) -> None:
    """Begins the work anew on each connection, after pauses that double up to a bound; `lost` is what the log says."""
    pause = limits.retry_pause_seconds
    while True:
        try:
            async with await connect() as connection:
                pause = limits.retry_pause_seconds
                await work(connection)
        except OUTAGES as error:
            _logger.warning(lost, error=type(error).__name__)
        await asyncio.sleep(pause)
        pause = min(pause * 2, limits.retry_pause_seconds_max)
