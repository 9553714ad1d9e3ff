"""Rate limits of log-ins and registrations, shared by all servers.

An attempt is admitted while fewer than a maximum count or run.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import msgspec
import structlog

from huajuan.domain.credentials import normalize_username
from huajuan.event_store.errors import DatabaseFailure
from huajuan.event_store.request_context import new_id
from huajuan.event_store.stream_ids import StreamIds
from huajuan.net.client_address import is_loopback, rate_limit_key
from huajuan.postgres.retry import Backoff
from huajuan.postgres.statements import Statements
from huajuan.runtime.periodic import TooManyWaiting

PAUSE_SECONDS = 0.02
PAUSE_SECONDS_MAX = 0.25
# `Retry-After` for a client that only running attempts hold back.
RUNNING_RETRY_SECONDS = 1
WINDOW_SECONDS = 3600
# After this time a registration whose process died does not count as running any more.
LEASE_SECONDS = 120
WAIT_SECONDS = 10
WAITING_MAX = 200
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
# An attempt's lease is longer than the attempt by this margin, in which its end is written.
LEASE_MARGIN_SECONDS = 30
_BEGIN_LOGIN = """
SELECT b.is_admitted, b.locked_seconds, k.is_known
  FROM (SELECT EXISTS (SELECT FROM operations.known_addresses a
                        WHERE a.account_id = %(account)s AND a.address = %(known_address)s
                          AND a.seen_at > now() - make_interval(hours => 24) * %(days)s::float8)
       ) AS k(is_known),
       LATERAL operations.begin_attempt(
           %(attempt)s,
           ARRAY[CASE WHEN k.is_known THEN %(at_known)s ELSE %(at_account)s END, %(at_address)s]::bytea[],
           %(maxima)s::int[], %(lease)s::float8) AS b
"""
_REMEMBER_ADDRESS = (
    "SELECT operations.remember_address(%(account)s, %(known_address)s, %(limit)s::int, %(days)s::float8)"
)
_FORGET_ADDRESSES = """
DELETE FROM operations.known_addresses WHERE seen_at < now() - make_interval(hours => 24) * %(days)s::float8
"""
_BEGIN_REGISTRATION = """
SELECT b.is_admitted, b.locked_seconds, NULL
  FROM operations.begin_attempt(%(attempt)s, %(subjects)s::bytea[], %(maxima)s::int[], %(lease)s::float8) AS b
"""
_logger = structlog.get_logger(__name__)


class RateLimited(Exception):
    """Too many attempts; try again after `retry_after_seconds`."""

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__(retry_after_seconds)
        self.retry_after_seconds = retry_after_seconds


class RateLimiter:
    """Counts attempts in Postgres. At most `waiting_max` wait, up to `wait_seconds`, for running ones."""

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


class LoginAttemptLimits(msgspec.Struct, frozen=True):
    """An attempt waits up to `wait_seconds` for running ones; at most `waiting_max` wait in a process.

    An account has at most `known_addresses_max` addresses, each for `known_address_days` after a log-in.
    """

    account_failures_max: int = 10
    address_failures_max: int = 50
    window_seconds: float = 15 * 60
    wait_seconds: float = 10
    waiting_max: int = 200
    attempt_seconds_max: float = 60
    known_addresses_max: int = 20
    known_address_days: float = 90


@dataclass
class LoginAttempt:
    """One running attempt. Only a failure is counted, and only a success makes the address a known one."""

    account_id: UUID
    known_address: bytes
    subjects: list[bytes]
    id: UUID = field(default_factory=uuid4)
    has_failed: bool = False
    has_succeeded: bool = False

    def failed(self) -> None:
        """The password was wrong."""
        self.has_failed = True

    def succeeded(self) -> None:
        """Earlier failures no longer count."""
        self.has_succeeded = True


class LoginAttempts:
    """Counts failures from a known address of an account separately from failures from other addresses."""

    def __init__(self, statements: Statements, ids: StreamIds, limits: LoginAttemptLimits) -> None:
        self._statements = statements
        self._ids = ids
        self._limits = limits
        self._limiter = RateLimiter(statements, limits.wait_seconds, limits.waiting_max)

    @asynccontextmanager
    async def guard(self, username: str, address: str) -> AsyncIterator[LoginAttempt]:
        """For a block that checks a password and does nothing else, in at most `attempt_seconds_max`.

        Send the reply after the block. Raises `RateLimited`, `TooManyWaiting` after the time limit, and
        `DatabaseFailure` if a failure could not be counted.
        """
        attempt = await self._begin(normalize_username(username), rate_limit_key(address))
        try:
            async with asyncio.timeout(self._limits.attempt_seconds_max):
                yield attempt
        except TimeoutError:
            raise TooManyWaiting from None
        finally:
            await self._end(attempt)

    async def delete_expired(self) -> None:
        await self._limiter.delete_expired()
        await self._statements.run(_FORGET_ADDRESSES, {"days": self._limits.known_address_days})

    async def _begin(self, username: str, address: str) -> LoginAttempt:
        limits, keyed_hash, account_id = self._limits, self._ids.keyed_hash, self._ids.account(username)
        at_account, at_address = keyed_hash("log-in to", username), keyed_hash("log-in from", address)
        known_address = keyed_hash("known address", f"{account_id}{address}")
        attempt = LoginAttempt(account_id, known_address, [at_account, at_address])
        values: dict[str, Any] = {
            "account": account_id,
            "known_address": known_address,
            "days": limits.known_address_days,
            "attempt": attempt.id,
            "at_known": keyed_hash("log-in at known", f"{account_id}{address}"),
            "at_account": at_account,
            "at_address": at_address,
            "maxima": [limits.account_failures_max, limits.address_failures_max],
            "lease": limits.attempt_seconds_max + LEASE_MARGIN_SECONDS,
        }
        if await self._limiter.begin(_BEGIN_LOGIN, values):
            attempt.subjects[0] = values["at_known"]
        return attempt

    async def _end(self, attempt: LoginAttempt) -> None:
        """Raises `DatabaseFailure` if a failure cannot be counted; other results stay as decided."""
        if attempt.has_failed:
            await self._limiter.count(attempt.id, attempt.subjects, self._limits.window_seconds)
            return
        try:
            cleared = attempt.subjects[:1] if attempt.has_succeeded else []
            await self._limiter.release(attempt.id, attempt.subjects, cleared)
            if attempt.has_succeeded:
                values = {"account": attempt.account_id, "known_address": attempt.known_address}
                limits = {"limit": self._limits.known_addresses_max, "days": self._limits.known_address_days}
                await self._statements.run(_REMEMBER_ADDRESS, {**values, **limits})
        except DatabaseFailure as error:
            _logger.warning("log-in attempt left to expire", error=type(error).__name__)


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
        subjects, maxima = [self._ids.keyed_hash("register from", rate_limit_key(address))], [self._per_hour]
        values = {"attempt": attempt, "subjects": subjects, "maxima": maxima, "lease": LEASE_SECONDS}
        await self._limiter.begin(_BEGIN_REGISTRATION, values)
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
