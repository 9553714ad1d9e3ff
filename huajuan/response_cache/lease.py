"""The cache lease: for some seconds one server alone may change the read tables and cache replies."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import AsyncConnection, AsyncCursor

from huajuan.postgres.statements import Statements
from huajuan.response_cache.versions import CacheVersions
from huajuan.runtime.periodic import periodic

_ACQUIRE = "SELECT operations.acquire_cache_lease(%(holder)s, %(seconds)s)"
# It takes a lock that folds share and an acquirer needs alone, until the end of the transaction.
_MAY_FOLD = b"SELECT operations.may_fold(%b)"
# Longer than a swap may take from its announcement to its end. Each try announces anew.
_SUSPENDED_SECONDS = 30
_SUSPEND = """
UPDATE operations.cache_lease SET blocked_until = clock_timestamp() + make_interval(secs => %s)
RETURNING greatest(extract(epoch FROM expires_at - clock_timestamp()), 0)::float8
"""
_RESUME = "UPDATE operations.cache_lease SET blocked_until = clock_timestamp()"


class LeaseHeld(Exception):
    """A server holds the cache lease, so its read tables must not be swapped now."""


class CacheLease:
    """One a worker. It is `seconds` long and renewed each third of that, while cached paths are requested."""

    def __init__(self, statements: Statements, versions: CacheVersions, seconds: float) -> None:
        self._statements = statements
        self._versions = versions
        self._seconds = seconds
        self._is_requested = asyncio.Event()

    def request(self) -> None:
        """A request has come that could be cached."""
        self._is_requested.set()

    async def renew_while_requested(self) -> None:
        """Runs until cancelled."""
        await periodic("renew cache lease", self._acquire, self._seconds / 3, trigger=self._is_requested)

    async def _acquire(self) -> None:
        """Timed from before the query here, and from later on in the database, so it expires here first."""
        began = time.monotonic_ns()
        values = {"holder": self._versions.holder, "seconds": self._seconds}
        ((epoch,),) = await self._statements.run(_ACQUIRE, values)
        if epoch:
            self._versions.set_lease(epoch, began + int(self._seconds * 1e9))


async def lock_for_fold(connection: AsyncConnection, holder: str) -> AsyncCursor:
    """Its row is true unless another server holds the lease. Blocks acquisition until the commit."""
    return await connection.execute(_MAY_FOLD, (holder,), prepare=True, binary=True)


def suspend_leases(connection: psycopg.Connection) -> None:
    """Announce a swap, and wait until the current lease has expired; folds and reads go on meanwhile."""
    ((seconds_left,),) = connection.execute(_SUSPEND, (_SUSPENDED_SECONDS,)).fetchall()
    time.sleep(seconds_left)


@contextmanager
def without_lease(connection: psycopg.Connection) -> Iterator[None]:
    """Inside a swap's transaction: no server acquires the lease before its end. Raises `LeaseHeld`."""
    if (True,) not in connection.execute(_MAY_FOLD, ("",)).fetchall():
        raise LeaseHeld
    yield
    connection.execute(_RESUME)
