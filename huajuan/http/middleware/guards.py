"""Guards, named by what they demand."""

import re
from collections.abc import Awaitable, Callable
from typing import Any

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.handlers.base import BaseRouteHandler

from huajuan.auth.tokens import Claims, TokenExpired, TokenInvalid
from huajuan.domain.admin import Admin
from huajuan.event_store.request_context import act_as
from huajuan.http import messages
from huajuan.http.errors import Refusal
from huajuan.http.services import Desk

Guard = Callable[[ASGIConnection[Any, Any, Any, Any], BaseRouteHandler], Awaitable[None]]
Hook = Callable[[Request[Any, Any, Any]], Awaitable[None]]
_SCHEME = re.compile(r"^bearer\b", re.IGNORECASE)
# A route may name keys that stand in its replies to a bad token, beside `code` and `message`.
BESIDE_TOKEN_REFUSAL = "beside_token_refusal"
# A route may have another text for a missing token; what is missing then stands under `error`.
INSTEAD_OF_TOKEN_REFUSAL = "instead_of_token_refusal"


def ahead(*guards: Guard) -> Hook:
    """In order, before anything else is done. The framework would copy the handler for each guard of its own."""

    async def hook(request: Request[Any, Any, Any]) -> None:
        for guard in guards:
            await guard(request, request.route_handler)

    return hook


async def requires_token(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Checked before anything else; what the request leads to is done in the account's name."""
    beside = handler.opt.get(BESIDE_TOKEN_REFUSAL, {})
    desk: Desk = connection.app.state.desk
    token = token_in(connection.headers.get("authorization", ""))
    if not token:
        raise _missing(handler.opt.get(INSTEAD_OF_TOKEN_REFUSAL), beside)
    claims = _verify(desk, token, beside)
    if not await desk.sessions.admits(claims.jti, claims.account_id, claims.cred):
        raise Refusal(401, **beside, message=messages.TOKEN_INVALID)
    connection.scope["state"]["claims"] = claims
    act_as(claims.account_id)


def token_in(header: str) -> str:
    """The token of an `Authorization` header, with or without the word before it."""
    return _SCHEME.sub("", header).strip()


async def is_admin(desk: Desk, claims: Claims) -> bool:
    """Looked up in the log each time: a role that is revoked is gone at once, in every worker."""
    admin = await desk.store.find(Admin, desk.store.stream_ids.admin(claims.account_id))
    return admin is not None and admin.stands


async def requires_admin(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """After the token."""
    claims: Claims = connection.scope["state"]["claims"]
    if not await is_admin(connection.app.state.desk, claims):
        raise Refusal(403, message=messages.NOT_ADMIN)


def _missing(instead: str | None, beside: dict[str, Any]) -> Refusal:
    if instead:
        return Refusal(401, **beside, message=instead, error=messages.TOKEN_MISSING)
    return Refusal(401, **beside, message=messages.TOKEN_MISSING)


def _verify(desk: Desk, token: str, beside: dict[str, Any]) -> Claims:
    try:
        return desk.tokens.verify(token)
    except TokenExpired:
        raise Refusal(401, **beside, message=messages.TOKEN_EXPIRED) from None
    except TokenInvalid:
        raise Refusal(401, **beside, message=messages.TOKEN_INVALID) from None
