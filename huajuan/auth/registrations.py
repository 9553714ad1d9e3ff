"""The rate limit of registrations by client address, shared by all servers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from huajuan.auth.rate_limits import RateLimiter
from huajuan.event_store.errors import DatabaseFailure
from huajuan.event_store.request_context import new_id
from huajuan.event_store.stream_ids import StreamIds
from huajuan.net.client_address import is_loopback, rate_limit_key
from huajuan.postgres.statements import Statements

WINDOW_SECONDS = 3600
# After this time a registration whose process died does not count as running any more.
LEASE_SECONDS = 120
WAIT_SECONDS = 10
WAITING_MAX = 200
_BEGIN = """
SELECT b.is_admitted, b.locked_seconds, NULL
  FROM operations.begin_attempt(%(attempt)s, %(subjects)s::bytea[], %(maxima)s::int[], %(lease)s::float8) AS b
"""
_logger = structlog.get_logger(__name__)


class RegistrationAttempts:
    """Admits at most `per_hour` registrations from one address; 0 is no limit, and loopback has none."""

    def __init__(self, statements: Statements, ids: StreamIds, per_hour: int) -> None:
        self._ids = ids
        self._per_hour = per_hour
        self._limiter = RateLimiter(statements, WAIT_SECONDS, WAITING_MAX)

    @asynccontextmanager
    async def guard(self, address: str) -> AsyncIterator[None]:
        """Counts the block if it ends without an exception. Raises `RateLimited`.

        All runs of a request with an idempotency key are one attempt, and count once.
        """
        if not self._per_hour or is_loopback(address):
            yield
            return
        attempt = new_id("registration")
        subjects = [self._ids.keyed_hash("register from", rate_limit_key(address))]
        values = {
            "attempt": attempt, "subjects": subjects, "maxima": [self._per_hour], "lease": LEASE_SECONDS,
        }  # fmt: skip
        await self._limiter.begin(_BEGIN, values)
        has_registered = False
        try:
            yield
            has_registered = True
        finally:
            # The registration is committed, whether it can be counted or not.
            try:
                if has_registered:
                    await self._limiter.count(attempt, subjects, WINDOW_SECONDS)
                else:
                    await self._limiter.release(attempt, subjects, [])
            except DatabaseFailure as error:
                _logger.warning("registration not counted", error=type(error).__name__)
