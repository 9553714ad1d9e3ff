"""Errors of the database layer, and retries with exponential backoff, bounded by a deadline."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import psycopg
import structlog
from psycopg.errors import QueryCanceled, ReadOnlySqlTransaction
from psycopg_pool import PoolClosed

T = TypeVar("T")
PAUSE_SECONDS = 0.02
PAUSE_SECONDS_MAX = 0.5
# After any of these during a write it is unknown whether the write happened. The work may be retried.
OUTAGES = (psycopg.OperationalError, psycopg.InterfaceError, ReadOnlySqlTransaction, TimeoutError)
# Operational errors that no retry mends.
_NO_OUTAGES = (QueryCanceled, PoolClosed)
_logger = structlog.get_logger(__name__)


class DatabaseFailure(Exception):
    """The database could not execute the work."""


class DatabaseBusy(DatabaseFailure):
    """Too much work is waiting, or a statement exceeded its time limit. Nothing was written."""


class DatabaseUnavailable(DatabaseFailure):
    """Postgres did not answer within the time limit. The outcome of a write is unknown."""


class StalePrimary(psycopg.OperationalError):
    """This server was replaced: its timeline is lower than one seen before. Lasts until another answers."""

    def __init__(self, found: tuple[str, int], highest: int, folder: Path | None) -> None:
        system, timeline = found
        remedy = f"; if it is to be used again on purpose, remove {system}-* in {folder}" if folder else ""
        super().__init__(
            f"the database is an old primary: it writes timeline {timeline}, and timeline {highest} of the "
            f"same system was seen before; what it holds may be out of date{remedy}"
        )


@contextmanager
def failures_mapped() -> Iterator[None]:
    """Raises `DatabaseUnavailable` instead of `OUTAGES`, or `DatabaseBusy` after a statement's time limit."""
    try:
        yield
    except QueryCanceled as error:
        raise DatabaseBusy from error
    except OUTAGES as error:
        raise DatabaseUnavailable from error


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
        except _NO_OUTAGES:
            raise
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
        async with asyncio.timeout_at(backoff.deadline):
            return await work()

    with failures_mapped():
        return await retry(attempt, backoff)
