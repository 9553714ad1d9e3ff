"""The rate limit of failed log-ins by account, known address and client address, shared by all servers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID, uuid4

import msgspec
import structlog

from huajuan.auth.rate_limits import RateLimiter
from huajuan.domain.credentials import normalize_username
from huajuan.event_store.errors import DatabaseFailure
from huajuan.event_store.stream_ids import StreamIds
from huajuan.net.client_address import rate_limit_key
from huajuan.postgres.statements import Statements
from huajuan.runtime.threads import TooManyWaiting

# An attempt's lease is longer than the attempt by this margin, in which its end is written.
LEASE_MARGIN_SECONDS = 30
_BEGIN = """
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
_REMEMBER = (
    "SELECT operations.remember_address(%(account)s, %(known_address)s, %(most)s::int, %(days)s::float8)"
)
_DELETE_EXPIRED = """
DELETE FROM operations.known_addresses WHERE seen_at < now() - make_interval(hours => 24) * %(days)s::float8
"""
_logger = structlog.get_logger(__name__)


class LoginAttemptLimits(msgspec.Struct, frozen=True):
    """Maximum failures within the window.

    An attempt waits up to `wait_seconds` for running attempts; at most `waiting_max` wait in a process. An
    account has at most `known_addresses_max` known addresses, each for `known_address_days` after its last
    log-in.
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
    """One running attempt, which is counted only if it `failed`."""

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
        """The log-in succeeded: earlier failures no longer count, and the address becomes a known one."""
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
        await self._statements.run(_DELETE_EXPIRED, {"days": self._limits.known_address_days})

    async def _begin(self, username: str, address: str) -> LoginAttempt:
        account_id, keyed_hash = self._ids.account(username), self._ids.keyed_hash
        known_address = keyed_hash("known address", f"{account_id}{address}")
        at_known = keyed_hash("log-in at known", f"{account_id}{address}")
        at_account = keyed_hash("log-in to", username)
        attempt = LoginAttempt(account_id, known_address, [at_account, keyed_hash("log-in from", address)])
        limits = self._limits
        values = {
            "account": account_id,
            "known_address": known_address,
            "days": limits.known_address_days,
            "attempt": attempt.id,
            "at_known": at_known,
            "at_account": at_account,
            "at_address": attempt.subjects[1],
            "maxima": [limits.account_failures_max, limits.address_failures_max],
            "lease": limits.attempt_seconds_max + LEASE_MARGIN_SECONDS,
        }
        if await self._limiter.begin(_BEGIN, values):
            attempt.subjects[0] = at_known
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
                await self._remember_address(attempt)
        except DatabaseFailure as error:
            _logger.warning("log-in attempt left to expire", error=type(error).__name__)

    async def _remember_address(self, attempt: LoginAttempt) -> None:
        values = {
            "account": attempt.account_id,
            "known_address": attempt.known_address,
            "most": self._limits.known_addresses_max,
            "days": self._limits.known_address_days,
        }
        await self._statements.run(_REMEMBER, values)
