"""Detects a database that answers reads and rejects writes: it is read-only, or its disk is full."""

import time
from collections.abc import Callable, Iterable

import psycopg
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from huajuan.observability.health import Problem
from huajuan.runtime.periodic import periodic

FAILURES_MAX = 3
PROBE_AFTER_SECONDS = 10.0
PROBE_AGAIN_SECONDS = 1.0
_PROBE = """
INSERT INTO operations.write_probe (written_at) VALUES (now())
ON CONFLICT (one) DO UPDATE SET written_at = excluded.written_at
"""
# Errors of the content of one write.
_OF_CONTENT = (psycopg.DataError, psycopg.IntegrityError)
_FAILURES = (psycopg.Error, PoolTimeout, TimeoutError)


class WriteHealth:
    """Counts the failed writes of this process since the last success."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tried_at = clock()
        self._failures = 0
        self._reason = ""

    def succeeded(self) -> None:
        self._tried_at = self._clock()
        self._failures = 0

    def failed(self, error: Exception) -> None:
        if not isinstance(error, _OF_CONTENT):
            self._tried_at = self._clock()
            self._failures += 1
            self._reason = type(error).__name__

    def problems(self) -> Iterable[Problem]:
        if self._failures >= FAILURES_MAX:
            detail = f"The last {self._failures} writes to the database failed: {self._reason}."
            yield Problem("database_refuses_writes", detail, blocking=True)

    @property
    def probe_due_in_seconds(self) -> float:
        """The time until a probe is due, because nothing else was written. After a failure it is short."""
        wait = PROBE_AGAIN_SECONDS if self._failures else PROBE_AFTER_SECONDS
        return self._tried_at + wait - self._clock()


async def run_write_probe(health: WriteHealth, pool: AsyncConnectionPool) -> None:
    """Writes one row whenever nothing else was written for a while, until the task is cancelled."""

    async def probe() -> None:
        if health.probe_due_in_seconds > 0:
            return
        try:
            async with pool.connection() as connection:
                await connection.execute(_PROBE)
            health.succeeded()
        except _FAILURES as error:
            health.failed(error)

    await periodic("write probe", probe, PROBE_AGAIN_SECONDS)
