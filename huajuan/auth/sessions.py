"""Sessions: whether a correctly signed token is still valid; revocations reach all servers by NOTIFY."""

from collections import OrderedDict
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID

from huajuan.domain.account import Account
from huajuan.event_store.store import EventStore
from huajuan.postgres.statements import Statements

CHANNEL = "huajuan_sessions"
_REVOKE = """
WITH gone AS (
    INSERT INTO operations.revoked_tokens (token, expires_at) VALUES (%(token)s, %(expires_at)s)
    ON CONFLICT DO NOTHING)
SELECT pg_notify(%(channel)s, %(token)s)
"""
_IS_REVOKED = "SELECT 1 FROM operations.revoked_tokens WHERE token = %(token)s"
# Tokens expire by the clock of a server, which may be behind that of the database.
_DELETE_EXPIRED = "DELETE FROM operations.revoked_tokens WHERE expires_at < now() - interval '1 day'"


class Revocations(Protocol):
    """Counts the revocations of an account's tokens by all workers of this server, in shared memory."""

    def revocations(self, account_id: UUID, /) -> int: ...
    def add_revocation(self, account_id: UUID, /) -> None: ...


class Sessions:
    """Caches valid tokens.

    Revocations by workers of this server are counted in shared memory; revocations by other servers are
    notified on `CHANNEL`.

    While the channel is not connected, nothing is cached and every token is looked up.
    """

    def __init__(
        self, store: EventStore, statements: Statements, cached_max: int, revocations: Revocations
    ) -> None:
        self._store = store
        self._statements = statements
        self._cached_max = cached_max
        self._revocations = revocations
        self._cached: OrderedDict[str, tuple[UUID, int]] = OrderedDict()
        self._is_connected = False
        self._notifications = 0

    async def admits(self, token: str, account_id: UUID, credential: int) -> bool:
        """Whether the account exists, is not banned and has this credential, and the token is not revoked."""
        if self.is_admitted_from_cache(token):
            return True
        notifications, revocations = self._notifications, self._revocations.revocations(account_id)
        is_valid = await self._look_up(token, account_id, credential)
        if is_valid and self._is_connected and notifications == self._notifications:
            self._cache(token, account_id, revocations)
        return is_valid

    def is_admitted_from_cache(self, token: str) -> bool:
        """Whether the token is cached as valid, without a query."""
        account_id, revocations = self._cached.get(token, (None, 0))
        if account_id is None or self._revocations.revocations(account_id) != revocations:
            return False
        self._cached.move_to_end(token)
        return True

    async def revoke(self, token: str, account_id: UUID, expires_at: float) -> None:
        """Revokes a token at all servers. `expires_at` is its own expiry in seconds since 1970."""
        moment = datetime.fromtimestamp(expires_at, UTC)
        await self._statements.run(_REVOKE, {"token": token, "expires_at": moment, "channel": CHANNEL})
        self._revocations.add_revocation(account_id)
        self.on_notification(token)

    def ended(self, account_id: UUID) -> None:
        """Invalidates the cached tokens of an account after a command of this process revoked some."""
        self._revocations.add_revocation(account_id)
        self.on_notification(str(account_id))

    def on_notification(self, name: str) -> None:
        """Removes from the cache a token, or all tokens of an account, by a notification's payload."""
        self._notifications += 1
        self._cached.pop(name, None)
        for token in [token for token, (account, _) in self._cached.items() if str(account) == name]:
            del self._cached[token]

    def on_listening(self, is_hearing: bool) -> None:
        """Clears the cache: notifications may have been missed while the channel was not connected."""
        self._is_connected = is_hearing
        self._notifications += 1
        self._cached.clear()

    async def delete_expired(self) -> None:
        await self._statements.run(_DELETE_EXPIRED)

    async def _look_up(self, token: str, account_id: UUID, credential: int) -> bool:
        if await self._statements.run(_IS_REVOKED, {"token": token}):
            return False
        account = await self._store.find(Account, account_id)
        return account is not None and account.credential == credential and not account.is_banned

    def _cache(self, token: str, account_id: UUID, revocations: int) -> None:
        self._cached[token] = account_id, revocations
        while len(self._cached) > self._cached_max:
            self._cached.popitem(last=False)
