"""Failures to log in, counted by account and by address, for all workers together."""

import math
from typing import Any

import msgspec

from huajuan.event_store.statements import Statements
from huajuan.event_store.streams import StreamIds

# Counted before the password is looked at: of many attempts at once each is counted, none slips past.
_COUNT = """
INSERT INTO operations.login_attempts AS a (subject, failures, since)
SELECT subject, 1, now() FROM unnest(%(subjects)s::bytea[]) AS s(subject) ORDER BY subject
ON CONFLICT (subject) DO UPDATE SET
    failures = CASE WHEN a.since < now() - make_interval(secs => %(window)s) THEN 1 ELSE a.failures + 1 END,
    since = CASE WHEN a.since < now() - make_interval(secs => %(window)s) THEN now() ELSE a.since END
RETURNING subject, failures, extract(epoch FROM since - now())::float8 + %(window)s
"""
_CLEAR = "DELETE FROM operations.login_attempts WHERE subject = %(subject)s"
_GIVE_BACK = """
UPDATE operations.login_attempts SET failures = greatest(failures - 1, 0) WHERE subject = ANY(%(subjects)s)
"""
_TIDY = "DELETE FROM operations.login_attempts WHERE since < now() - make_interval(secs => %(window)s)"


class AttemptLimits(msgspec.Struct, frozen=True):
    """How many failures within the window are too many."""

    account_failures_max: int = 10
    address_failures_max: int = 50
    window_seconds: float = 15 * 60


class TooManyFailures(Exception):
    """Come back after so many seconds."""

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__(retry_after_seconds)
        self.retry_after_seconds = retry_after_seconds


class Attempts:
    """One attempt is `begin`, then `succeeded` or `came_to_nothing`; otherwise it stays counted as a failure."""

    def __init__(self, statements: Statements, ids: StreamIds, limits: AttemptLimits) -> None:
        self._statements = statements
        self._ids = ids
        self._limits = limits

    async def begin(self, username: str, address: str) -> None:
        """Raises `TooManyFailures`."""
        most = {
            self._account(username): self._limits.account_failures_max,
            self._address(address): self._limits.address_failures_max,
        }
        rows = await self._run(_COUNT, subjects=list(most))
        waits = [seconds for subject, failures, seconds in rows if failures > most[bytes(subject)]]
        if waits:
            raise TooManyFailures(max(1, math.ceil(max(waits))))

    async def succeeded(self, username: str, address: str) -> None:
        """The account's failures are forgotten; the address has one the less."""
        await self._run(_CLEAR, subject=self._account(username))
        await self._run(_GIVE_BACK, subjects=[self._address(address)])

    async def came_to_nothing(self, username: str, address: str) -> None:
        """It was no failure of the client's."""
        await self._run(_GIVE_BACK, subjects=[self._account(username), self._address(address)])

    async def tidy(self) -> None:
        await self._run(_TIDY)

    def _account(self, username: str) -> bytes:
        return self._ids.blind("log-in to", username)

    def _address(self, address: str) -> bytes:
        return self._ids.blind("log-in from", address)

    async def _run(self, statement: str, **values: Any) -> list[tuple[Any, ...]]:
        return await self._statements.run(statement, {"window": self._limits.window_seconds, **values})
