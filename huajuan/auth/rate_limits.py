"""Rate limits of all servers: an attempt is admitted while fewer than a maximum count or run."""

import math
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from huajuan.postgres.retry import Backoff
from huajuan.postgres.statements import Statements

PAUSE_SECONDS = 0.02
PAUSE_SECONDS_MAX = 0.25
# `Retry-After` for a client that only running attempts hold back.
RUNNING_RETRY_SECONDS = 1
_COUNT = """
INSERT INTO operations.counted_attempts (subject, attempt, is_counted, ends_at)
SELECT subject, %(attempt)s, true, now() + make_interval(secs => %(window)s)
  FROM unnest(%(subjects)s::bytea[]) AS s(subject)
ON CONFLICT (subject, attempt) DO UPDATE SET is_counted = true, ends_at = EXCLUDED.ends_at
"""
_RELEASE = """
DELETE FROM operations.counted_attempts
 WHERE subject = ANY(%(subjects)s::bytea[]) AND attempt = %(attempt)s AND NOT is_counted
    OR subject = ANY(%(cleared)s::bytea[]) AND is_counted
"""
_DELETE_EXPIRED = "DELETE FROM operations.counted_attempts WHERE ends_at < now()"


class RateLimited(Exception):
    """Too many attempts; try again after `retry_after_seconds`."""

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__(retry_after_seconds)
        self.retry_after_seconds = retry_after_seconds


class RateLimiter:
    """Counts attempts in Postgres. An attempt waits up to `wait_seconds` for running attempts to end.

    At most `waiting_max` attempts wait at a time in this process.
    """

    def __init__(self, statements: Statements, wait_seconds: float, waiting_max: int) -> None:
        self._statements = statements
        self._wait_seconds = wait_seconds
        self._waiting_max = waiting_max
        self._waiting = 0

    async def begin(self, statement: str, values: Mapping[str, Any]) -> Any:
        """`statement` selects `is_admitted`, `locked_seconds` and a result. Raises `RateLimited`."""
        backoff = Backoff(self._wait_seconds, PAUSE_SECONDS, PAUSE_SECONDS_MAX)
        while True:
            ((is_admitted, locked_seconds, found),) = await self._statements.run(statement, values)
            if is_admitted:
                return found
            if locked_seconds > 0:
                raise RateLimited(max(1, math.ceil(locked_seconds)))
            if self._waiting >= self._waiting_max or not await self._pause(backoff):
                raise RateLimited(RUNNING_RETRY_SECONDS)

    async def count(self, attempt: UUID, subjects: list[bytes], window_seconds: float) -> None:
        """Counts the attempt until the end of the window."""
        values = {"attempt": attempt, "subjects": subjects, "window": window_seconds}
        await self._statements.run(_COUNT, values)

    async def release(self, attempt: UUID, subjects: list[bytes], cleared: list[bytes]) -> None:
        """Ends the attempt without counting it, and deletes counted attempts of the `cleared` subjects."""
        values = {"attempt": attempt, "subjects": subjects, "cleared": cleared}
        await self._statements.run(_RELEASE, values)

    async def delete_expired(self) -> None:
        await self._statements.run(_DELETE_EXPIRED)

    async def _pause(self, backoff: Backoff) -> bool:
        self._waiting += 1
        try:
            return await backoff.pause()
        finally:
            self._waiting -= 1
