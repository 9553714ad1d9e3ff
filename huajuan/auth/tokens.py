"""Signed tokens (JWT) that identify a client; verified tokens are cached."""

from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import jwt
import msgspec

from huajuan.domain.credentials import AuthenticatedAccount

ALGORITHM = "HS256"
_REQUIRED = ["sub", "username", "iat", "exp", "jti", "cred"]


class TokenExpired(Exception):
    """The token was valid and has expired."""


class TokenInvalid(Exception):
    """The token was not issued by this service."""


class Claims(msgspec.Struct, frozen=True):
    """`exp` and `iat` are seconds since 1970; `cred` is the number of passwords the account has had."""

    sub: UUID
    username: str
    iat: float
    exp: float
    jti: str
    cred: int

    @property
    def account_id(self) -> UUID:
        return self.sub


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
        options: Any = {"require": _REQUIRED, "verify_exp": False, "verify_iat": False}
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
