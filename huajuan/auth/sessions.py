"""Signed tokens (JWT), and sessions: whether a token is still valid; NOTIFY carries revocations."""

from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import jwt
import msgspec

from huajuan.domain.account import Account
from huajuan.domain.credentials import AuthenticatedAccount
from huajuan.event_store.store import EventStore
from huajuan.postgres.statements import Statements
from huajuan.response_cache.versions import CacheVersions

ALGORITHM = "HS256"
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


class TokenExpired(Exception):
    """The token was valid and has expired."""


class TokenInvalid(Exception):
    """The token was not issued by this service."""


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """`exp` and `iat` are seconds since 1970; `cred` is the number of passwords the account has had."""

    account_id: UUID = msgspec.field(name="sub")
    username: str
    iat: float
    exp: float
    jti: str
    cred: int


class Tokens:
    """`secret` is used as its UTF-8 bytes."""

    def __init__(self, secret: str, hours: float, clock: Callable[[], datetime], cached_max: int) -> None:
        self._secret = secret.encode()
        self._lifetime = timedelta(hours=hours)
        self._clock = clock
        self._cached_max = cached_max
        self._verified: OrderedDict[str, Claims] = OrderedDict()

    def issue(self, to: AuthenticatedAccount) -> str:
        now = self._clock()
        claims = {
            "sub": str(to.account_id),
            "username": to.username,
            "iat": int(now.timestamp()),
            "exp": int((now + self._lifetime).timestamp()),
            "jti": uuid4().hex,
            "cred": to.credential,
        }
        return jwt.encode(claims, self._secret, ALGORITHM)

    def verify(self, token: str) -> Claims:
        """Raises `TokenExpired` or `TokenInvalid`."""
        claims = self._verified.get(token) or self._cache(token, self._read(token))
        if claims.exp <= self._clock().timestamp():
            self._verified.pop(token, None)
            raise TokenExpired
        return claims

    def _read(self, token: str) -> Claims:
        # Times are checked with the service's clock, on every use and not only on the first.
        options: Any = {"verify_exp": False, "verify_iat": False}
        try:
            claims = jwt.decode(token, self._secret, algorithms=[ALGORITHM], options=options)
            return msgspec.convert(claims, Claims)
        except (jwt.InvalidTokenError, msgspec.ValidationError, ValueError):
            raise TokenInvalid from None

    def _cache(self, token: str, claims: Claims) -> Claims:
        self._verified[token] = claims
        while len(self._verified) > self._cached_max:
            self._verified.popitem(last=False)
        return claims


class Sessions:
    """Caches valid tokens. Without a connection to `CHANNEL` nothing is cached and every token is looked up.

    Workers of this server count revocations in shared memory; other servers notify them on `CHANNEL`.
    """

    def __init__(
        self, store: EventStore, statements: Statements, cached_max: int, versions: CacheVersions
    ) -> None:
        self._store = store
        self._statements = statements
        self._cached_max = cached_max
        self._versions = versions
        self._cached: OrderedDict[str, tuple[UUID, int]] = OrderedDict()
        self._is_connected = False
        self._notifications = 0

    async def admits(self, token: str, account_id: UUID, credential: int) -> bool:
        """Whether the account exists, is not banned and has this credential, and the token is not revoked."""
        if self.is_admitted_from_cache(token):
            return True
        notifications, revocations = self._notifications, self._versions.revocations(account_id)
        is_valid = await self._look_up(token, account_id, credential)
        if is_valid and self._is_connected and notifications == self._notifications:
            self._cache(token, account_id, revocations)
        return is_valid

    def is_admitted_from_cache(self, token: str) -> bool:
        """Whether the token is cached as valid, without a query."""
        account_id, revocations = self._cached.get(token, (None, 0))
        if account_id is None or self._versions.revocations(account_id) != revocations:
            return False
        self._cached.move_to_end(token)
        return True

    async def revoke(self, token: str, account_id: UUID, expires_at: float) -> None:
        """Revokes a token at all servers. `expires_at` is its own expiry in seconds since 1970."""
        moment = datetime.fromtimestamp(expires_at, UTC)
        await self._statements.run(_REVOKE, {"token": token, "expires_at": moment, "channel": CHANNEL})
        self._versions.add_revocation(account_id)
        self.on_notification(token)

    def ended(self, account_id: UUID) -> None:
        """Invalidates the cached tokens of an account after a command of this process revoked some."""
        self._versions.add_revocation(account_id)
        self.on_notification(str(account_id))

    def on_notification(self, name: str) -> None:
        """Removes from the cache a token, or all tokens of an account, by a notification's payload."""
        self._notifications += 1
        self._cached.pop(name, None)
        for token in [token for token, (account, _) in self._cached.items() if str(account) == name]:
            del self._cached[token]

    def on_listening(self, is_listening: bool) -> None:
        """Clears the cache: notifications may have been missed while the channel was not connected."""
        self._is_connected = is_listening
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
