"""Retries with exponential backoff, bounded by a deadline."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import TypeVar

import psycopg
import structlog
from psycopg_pool import PoolClosed

from huajuan.postgres.errors import OUTAGES, DatabaseBusy, DatabaseUnavailable

T = TypeVar("T")
PAUSE_SECONDS = 0.02
PAUSE_SECONDS_MAX = 0.5
_logger = structlog.get_logger(__name__)


class Backoff:
    """Pauses that double from `pause_seconds` to `pause_seconds_max`, until `seconds_max` have passed."""

    def __init__(
        self,
        seconds_max: float = math.inf,
        pause_seconds: float = PAUSE_SECONDS,
        pause_seconds_max: float = PAUSE_SECONDS_MAX,
    ) -> None:
        self.deadline = asyncio.get_running_loop().time() + seconds_max
        self._first_pause = self._pause = pause_seconds
        self._pause_max = pause_seconds_max

    async def pause(self) -> bool:
        """Sleeps before the next try. Returns False without a pause where the deadline does not allow one."""
        if asyncio.get_running_loop().time() + self._pause > self.deadline:
            return False
        await asyncio.sleep(self._pause)
        self._pause = min(self._pause * 2, self._pause_max)
        return True

    def reset(self) -> None:
        """Makes the next pause the shortest again, after a success."""
        self._pause = self._first_pause


async def retry(
    work: Callable[[], Awaitable[T]], backoff: Backoff, retry_on: tuple[type[Exception], ...] = OUTAGES
) -> T:
    """Calls `work` until it raises none of `retry_on`. Raises the last error at the deadline of `backoff`."""
    while True:
        try:
            return await work()
        except retry_on as error:
            _logger.warning("retrying after an error", error=type(error).__name__)
            if not await backoff.pause():
                raise


async def retry_query(work: Callable[[], Awaitable[T]], seconds_max: float) -> T:
    """Runs idempotent database work, and retries it while Postgres is unavailable, at most `seconds_max`.

    Raises `DatabaseUnavailable`, and `DatabaseBusy` where a statement exceeded its time limit.
    """
    backoff = Backoff(seconds_max)

    async def attempt() -> T:
        try:
            async with asyncio.timeout_at(backoff.deadline):
                return await work()
        except psycopg.errors.QueryCanceled as error:  # an OperationalError that is no outage
            raise DatabaseBusy from error
        except PoolClosed as error:  # likewise
            raise DatabaseUnavailable from error

    try:
        return await retry(attempt, backoff)
    except OUTAGES as error:
        raise DatabaseUnavailable from error
