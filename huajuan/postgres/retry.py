"""What counts as Postgres being away, and how to wait for it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import psycopg
import structlog
from psycopg_pool import PoolClosed

from huajuan.event_store.errors import LogBusy, LogUnavailable

T = TypeVar("T")

# After any of these on a write it is unknown whether it happened; the same work may be tried again.
OUTAGES = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.ReadOnlySqlTransaction,
    TimeoutError,
)
_PAUSE_SECONDS = 0.02
_PAUSE_SECONDS_MAX = 0.5
_logger = structlog.get_logger(__name__)


async def through_outages(work: Callable[[], Awaitable[T]], seconds_max: float) -> T:
    """Do work that may be done twice, again and again while Postgres is away.

    Raises `LogUnavailable`, and `LogBusy` for a query that ran into the statement timeout.
    """
    give_up_at = asyncio.get_running_loop().time() + seconds_max
    pause = _PAUSE_SECONDS
    while True:
        try:
            async with asyncio.timeout_at(give_up_at):
                return await work()
        except psycopg.errors.QueryCanceled as error:
            raise LogBusy from error
        except PoolClosed as error:
            raise LogUnavailable from error
        except OUTAGES as error:
            _logger.warning("database away", error=type(error).__name__)
            if asyncio.get_running_loop().time() + pause > give_up_at:
                raise LogUnavailable from error
        await asyncio.sleep(pause)
        pause = min(pause * 2, _PAUSE_SECONDS_MAX)
