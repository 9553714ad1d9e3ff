"""Sessions: whether a token that is well signed is still good, known at once here and soon everywhere."""

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
# A token's end is judged by the clock of a service, which may be behind that of the database.
_TIDY = "DELETE FROM operations.revoked_tokens WHERE expires_at < now() - interval '1 day'"


class Deaths(Protocol):
    """Counts how often tokens of an account have died at any worker of this server."""

    def count(self, account_id: UUID, /) -> int: ...
    def died(self, account_id: UUID, /) -> None: ...


class Sessions:
    """A token is looked up once and remembered; what revokes it is counted by the workers of this server in memory
    that they share, and heard from other servers on `CHANNEL`.

    While the channel cannot be heard nothing is remembered, and every token is looked up.
    """

    def __init__(self, store: EventStore, statements: Statements, cached_max: int, deaths: Deaths) -> None:
        self._store = store
        self._statements = statements
        self._cached_max = cached_max
        self._deaths = deaths
        self._admitted: OrderedDict[str, tuple[UUID, int]] = OrderedDict()
        self._is_hearing = False
        self._heard = 0

    async def admits(self, token: str, account_id: UUID, credential: int) -> bool:
        """Whether the account is there, not banned, has this credential still, and the token was not revoked."""
        if self.has_admitted(token):
            return True
        heard_before, deaths_before = self._heard, self._deaths.count(account_id)
        good = await self._look_up(token, account_id, credential)
        if good and self._is_hearing and heard_before == self._heard:
            self._remember(token, account_id, deaths_before)
        return good

    def has_admitted(self, token: str) -> bool:
        """Known without a look."""
        account_id, deaths = self._admitted.get(token, (None, 0))
        if account_id is None or self._deaths.count(account_id) != deaths:
            return False
        self._admitted.move_to_end(token)
        return True

    async def revoke(self, token: str, account_id: UUID, expires_at: float) -> None:
        """From here on, everywhere; `expires_at` in seconds since 1970 is when it would have died anyway."""
        moment = datetime.fromtimestamp(expires_at, UTC)
        await self._statements.run(_REVOKE, {"token": token, "expires_at": moment, "channel": CHANNEL})
        self._deaths.died(account_id)
        self.hear(token)

    def ended(self, account_id: UUID) -> None:
        """Some or all of this account's tokens are dead, by what was done here."""
        self._deaths.died(account_id)
        self.hear(str(account_id))

    def hear(self, name: str) -> None:
        """A token, or an account some or all of whose tokens are dead."""
        self._heard += 1
        self._admitted.pop(name, None)
        for token in [token for token, (account, _) in self._admitted.items() if str(account) == name]:
            del self._admitted[token]

    def hearing(self, is_hearing: bool) -> None:
        """What was said while nobody listened is not known: nothing remembered is to be trusted."""
        self._is_hearing = is_hearing
        self._heard += 1
        self._admitted.clear()

    async def tidy(self) -> None:
        await self._statements.run(_TIDY)

    async def _look_up(self, token: str, account_id: UUID, credential: int) -> bool:
        if await self._statements.run(_IS_REVOKED, {"token": token}):
            return False
        account = await self._store.find(Account, account_id)
        return account is not None and account.credential == credential and not account.is_banned

    def _remember(self, token: str, account_id: UUID, deaths: int) -> None:
        self._admitted[token] = account_id, deaths
        while len(self._admitted) > self._cached_max:
            self._admitted.popitem(last=False)
