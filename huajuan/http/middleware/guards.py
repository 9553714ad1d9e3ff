"""Checks before a handler runs: the token, the admin role, the idempotency key."""

import re
from collections.abc import Awaitable, Callable
from typing import Any

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.handlers.base import BaseRouteHandler

from huajuan.auth.sessions import Claims, TokenExpired, TokenInvalid, Tokens
from huajuan.domain.admin import Admin
from huajuan.event_store.request_context import set_actor
from huajuan.event_store.store import EventStore
from huajuan.http import messages
from huajuan.http.errors import FORBIDDEN, ApiError, token_error
from huajuan.http.services import Services

Guard = Callable[[ASGIConnection[Any, Any, Any, Any], BaseRouteHandler], Awaitable[None]]
Hook = Callable[[Request[Any, Any, Any]], Awaitable[None]]
TokenError = Callable[[str], ApiError]
# The handler option with the `TokenError` of a route, whose 401 responses may have other keys.
TOKEN_ERROR = "token_error"
_SCHEME = re.compile(r"^bearer\b", re.IGNORECASE)


def run_guards(*guards: Guard) -> Hook:
    """Run the guards in order before the request. Litestar would copy the handler for guards of its own."""

    async def hook(request: Request[Any, Any, Any]) -> None:
        for guard in guards:
            await guard(request, request.route_handler)

    return hook


async def require_token(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Check the token; events of this request then carry the account as actor."""
    error_of: TokenError = handler.opt.get(TOKEN_ERROR, token_error)
    services: Services = connection.app.state.services
    token = token_in(connection.headers.get("authorization", ""))
    if not token:
        raise error_of(messages.TOKEN_MISSING)
    claims = _verify(services.tokens, token, error_of)
    if not await services.sessions.admits(claims.jti, claims.account_id, claims.cred):
        raise error_of(messages.TOKEN_INVALID)
    connection.scope["state"]["claims"] = claims
    set_actor(claims.account_id)


def token_in(header: str) -> str:
    """The token of an `Authorization` header, with or without `Bearer`."""
    return _SCHEME.sub("", header).strip()


async def is_admin(store: EventStore, claims: Claims) -> bool:
    """Read from the log each time, so that a revoked role ends at once in every worker."""
    admin = await store.find(Admin, store.stream_ids.admin(claims.account_id))
    return admin is not None and admin.is_active


async def require_admin(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """To be run after `require_token`."""
    services: Services = connection.app.state.services
    if not await is_admin(services.store, connection.scope["state"]["claims"]):
        raise FORBIDDEN


def _verify(tokens: Tokens, token: str, error_of: TokenError) -> Claims:
    try:
        return tokens.verify(token)
    except TokenExpired:
        raise error_of(messages.TOKEN_EXPIRED) from None
    except TokenInvalid:
        raise error_of(messages.TOKEN_INVALID) from None
