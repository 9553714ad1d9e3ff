"""Guards, named by what they demand."""

from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers.base import BaseRouteHandler

from huajuan.event_store.caller import act_as
from huajuan.http import phrases
from huajuan.http.desk import Desk
from huajuan.http.envelope import Refusal
from huajuan.http.tokens import Claims, TokenExpired, TokenInvalid

# A route may name keys that stand in its replies to a bad token, beside `code` and `message`.
BESIDE_TOKEN_REFUSAL = "beside_token_refusal"


def requires_token(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Checked before anything else; what the request leads to is done in the account's name."""
    beside = handler.opt.get(BESIDE_TOKEN_REFUSAL, {})
    desk: Desk = connection.app.state.desk
    claims = _verify(desk, connection.headers.get("authorization", ""), beside)
    connection.scope["state"]["claims"] = claims
    act_as(claims.account_id)


def _verify(desk: Desk, header: str, beside: dict[str, Any]) -> Claims:
    token = header.removeprefix("Bearer").strip()
    if not token:
        raise Refusal(401, **beside, message=phrases.TOKEN_MISSING)
    try:
        return desk.tokens.verify(token)
    except TokenExpired:
        raise Refusal(401, **beside, message=phrases.TOKEN_EXPIRED) from None
    except TokenInvalid:
        raise Refusal(401, **beside, message=phrases.TOKEN_INVALID) from None
