"""Failures to log in, counted by account, by known address and by address, for all servers together."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID, uuid4

import msgspec
import structlog

from huajuan.auth.rate_limits import RateLimiter
from huajuan.domain.credentials import spell_name
from huajuan.event_store.errors import LogError
from huajuan.event_store.stream_ids import StreamIds
from huajuan.net.client_address import rate_limited_as
from huajuan.postgres.statements import Statements
from huajuan.runtime.threads import TooManyWaiting

# An attempt's lease is longer than the attempt by so much, for its end to be written.
LEASE_MARGIN_SECONDS = 30
_BEGIN = """
SELECT b.is_admitted, b.locked_seconds, k.is_known
  FROM (SELECT EXISTS (SELECT FROM operations.known_addresses a
                        WHERE a.account_id = %(account)s AND a.address = %(known_address)s
                          AND a.seen_at > now() - make_interval(hours => 24) * %(days)s::float8)) AS k(is_known),
       LATERAL operations.begin_attempt(
           %(attempt)s, ARRAY[CASE WHEN k.is_known THEN %(at_known)s ELSE %(at_account)s END, %(at_address)s]::bytea[],
           %(maxima)s::int[], %(lease)s::float8) AS b
"""
_KNOW = "SELECT operations.know_address(%(account)s, %(known_address)s, %(most)s::int, %(days)s::float8)"
_TIDY = """
DELETE FROM operations.known_addresses WHERE seen_at < now() - make_interval(hours => 24) * %(days)s::float8
"""
_logger = structlog.get_logger(__name__)


class AttemptLimits(msgspec.Struct, frozen=True):
    """How many failures within the window are too many.

    An attempt that others under way hold back waits up to `wait_seconds`; `waiting_max` of a process wait at a time.
    An account has at most `known_addresses_max` known addresses, each for `known_address_days` after its last log-in.
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
class Attempt:
    """One attempt under way; unless it `failed` it does not count."""

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
        """Somebody logged in: earlier failures do not count any more, and the address is a known one."""
        self.has_succeeded = True


class Attempts:
    """Failures at a known address of an account are counted apart from those from elsewhere."""

    def __init__(self, statements: Statements, ids: StreamIds, limits: AttemptLimits) -> None:
        self._statements = statements
        self._ids = ids
        self._limits = limits
        self._limiter = RateLimiter(statements, limits.wait_seconds, limits.waiting_max)

    @asynccontextmanager
    async def guard(self, username: str, address: str) -> AsyncIterator[Attempt]:
        """Check a password inside, and nothing else: it may take `attempt_seconds_max`.

        The reply must not be sent before the end. Raises `RateLimited`, `TooManyWaiting` where it took too long, and
        `LogError` where a failure could not be counted.
        """
        attempt = await self._begin(spell_name(username), rate_limited_as(address))
        try:
            async with asyncio.timeout(self._limits.attempt_seconds_max):
                yield attempt
        except TimeoutError:
            raise TooManyWaiting from None
        finally:
            await self._end(attempt)

    async def tidy(self) -> None:
        await self._limiter.tidy()
        await self._statements.run(_TIDY, {"days": self._limits.known_address_days})

    async def _begin(self, username: str, address: str) -> Attempt:
        account_id, blind = self._ids.account(username), self._ids.blind
        known_address = blind("known address", f"{account_id}{address}")
        at_known, at_account = (
            blind("log-in at known", f"{account_id}{address}"),
            blind("log-in to", username),
        )
        attempt = Attempt(account_id, known_address, [at_account, blind("log-in from", address)])
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

    async def _end(self, attempt: Attempt) -> None:
        """A failure that cannot be counted is not told; anything else stays as it was decided."""
        if attempt.has_failed:
            await self._limiter.count(attempt.id, attempt.subjects, self._limits.window_seconds)
            return
        try:
            cleared = attempt.subjects[:1] if attempt.has_succeeded else []
            await self._limiter.release(attempt.id, attempt.subjects, cleared)
            if attempt.has_succeeded:
                await self._know(attempt)
        except LogError as error:
            _logger.warning("log-in attempt left to lapse", error=type(error).__name__)

    async def _know(self, attempt: Attempt) -> None:
        values = {
            "account": attempt.account_id,
            "known_address": attempt.known_address,
            "most": self._limits.known_addresses_max,
            "days": self._limits.known_address_days,
        }
        await self._statements.run(_KNOW, values)
