"""Registrations, counted by address, for all servers together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from huajuan.auth.rate_limits import RateLimiter
from huajuan.event_store.errors import LogError
from huajuan.event_store.request_context import new_id
from huajuan.event_store.stream_ids import StreamIds
from huajuan.net.client_address import is_loopback, rate_limited_as
from huajuan.postgres.statements import Statements

WINDOW_SECONDS = 3600
# A registration that was begun and never ended, for its process died, gives its place back after so long.
LEASE_SECONDS = 120
WAIT_SECONDS = 10
WAITING_MAX = 200
_BEGIN = """
SELECT b.is_admitted, b.locked_seconds, NULL
  FROM operations.begin_attempt(%(attempt)s, %(subjects)s::bytea[], %(maxima)s::int[], %(lease)s::float8) AS b
"""
_logger = structlog.get_logger(__name__)


class Registrations:
    """At most `per_hour` from one address; 0 sets no limit, and loopback has none."""

    def __init__(self, statements: Statements, ids: StreamIds, per_hour: int) -> None:
        self._ids = ids
        self._per_hour = per_hour
        self._limiter = RateLimiter(statements, WAIT_SECONDS, WAITING_MAX)

    @asynccontextmanager
    async def guard(self, address: str) -> AsyncIterator[None]:
        """What ends without an exception counts. Raises `RateLimited`.

        Every run of a request with an idempotency key is the same attempt, so it counts once.
        """
        if not self._per_hour or is_loopback(address):
            yield
            return
        attempt, subjects = (
            new_id("registration"),
            [self._ids.blind("register from", rate_limited_as(address))],
        )
        values = {
            "attempt": attempt, "subjects": subjects, "maxima": [self._per_hour], "lease": LEASE_SECONDS,
        }  # fmt: skip
        await self._limiter.begin(_BEGIN, values)
        is_made = False
        try:
            yield
            is_made = True
        finally:
            # What was registered stays so, whether it could be counted or not.
            try:
                if is_made:
                    await self._limiter.count(attempt, subjects, WINDOW_SECONDS)
                else:
                    await self._limiter.release(attempt, subjects, [])
            except LogError as error:
                _logger.warning("registration not counted", error=type(error).__name__)
