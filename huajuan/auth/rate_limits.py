"""Admits attempts while fewer than a maximum are counted or under way, for all servers together."""

import asyncio
import math
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from huajuan.postgres.statements import Statements

PAUSE_SECONDS = 0.02
PAUSE_SECONDS_MAX = 0.25
# A client that was held back by attempts under way may come again so soon.
HELD_BACK_SECONDS = 1
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
_TIDY = "DELETE FROM operations.counted_attempts WHERE ends_at < now()"


class RateLimited(Exception):
    """Too many attempts: come back after so many seconds."""

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__(retry_after_seconds)
        self.retry_after_seconds = retry_after_seconds


class RateLimiter:
    """The rows are in Postgres. An attempt that other attempts hold back waits up to `wait_seconds`.

    At most `waiting_max` wait at a time in this process.
    """

    def __init__(self, statements: Statements, wait_seconds: float, waiting_max: int) -> None:
        self._statements = statements
        self._wait_seconds = wait_seconds
        self._waiting_max = waiting_max
        self._waiting = 0

    async def begin(self, statement: str, values: Mapping[str, Any]) -> Any:
        """`statement` gives `is_admitted`, `locked_seconds` and a column to return. Raises `RateLimited`."""
        now = asyncio.get_running_loop().time
        give_up_at, pause = now() + self._wait_seconds, PAUSE_SECONDS
        while True:
            ((is_admitted, locked_seconds, found),) = await self._statements.run(statement, values)
            if is_admitted:
                return found
            if locked_seconds > 0:
                raise RateLimited(max(1, math.ceil(locked_seconds)))
            if now() + pause > give_up_at or self._waiting >= self._waiting_max:
                raise RateLimited(HELD_BACK_SECONDS)
            await self._wait(pause)
            pause = min(pause * 2, PAUSE_SECONDS_MAX)

    async def count(self, attempt: UUID, subjects: list[bytes], window_seconds: float) -> None:
        """The attempt counts until the window is over."""
        values = {"attempt": attempt, "subjects": subjects, "window": window_seconds}
        await self._statements.run(_COUNT, values)

    async def release(self, attempt: UUID, subjects: list[bytes], cleared: list[bytes]) -> None:
        """The attempt is over and does not count; for the `cleared` subjects no earlier one does either."""
        values = {"attempt": attempt, "subjects": subjects, "cleared": cleared}
        await self._statements.run(_RELEASE, values)

    async def tidy(self) -> None:
        await self._statements.run(_TIDY)

    async def _wait(self, seconds: float) -> None:
        self._waiting += 1
        try:
            await asyncio.sleep(seconds)
        finally:
            self._waiting -= 1
