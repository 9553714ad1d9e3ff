"""`Idempotency-Key`: a request that is sent again changes nothing and gets the first one's reply."""

import asyncio
import re
from typing import Any
from uuid import UUID

from litestar import Request, Response
from litestar.connection import ASGIConnection
from litestar.enums import ScopeType
from litestar.exceptions import InternalServerException
from litestar.handlers.base import BaseRouteHandler
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from huajuan.event_store.request_context import carry_out
from huajuan.http import messages
from huajuan.http.errors import IS_PASSING, RETRY_AFTER_SECONDS, Refusal
from huajuan.http.middleware.proxies import client_address
from huajuan.http.request_body import malformed
from huajuan.http.services import Desk
from huajuan.http.spooling import SPOOLED, BodyLost, close_spool, digest_without, spooled
from huajuan.idempotency.keys import KeyedRequest, Reply
from huajuan.idempotency.service import Idempotency, OtherBody, Run, StillRunning

KEY = "idempotency-key"
REPLAYED = "Idempotency-Replayed"
WRITING_METHODS = frozenset({"POST", "PUT", "PATCH", "DELETE"})
# A route may write although it is asked with GET.
WRITES = "writes"
# Of these the next copy may have another; the other refusals are kept as successes are.
PASSING_STATUSES = frozenset({429, 503})
KEY_CHARACTERS_MAX = 255
_FIT = re.compile(rf"[!-~]{{1,{KEY_CHARACTERS_MAX}}}")
_KEEPING = "keeping_reply"
_CONCERNS = "reply_concerns"


class Replayed(Exception):
    """The reply was given before."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


def on_replayed(_: Request[Any, Any, Any], replayed: Replayed) -> Response[bytes]:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in replayed.reply.headers}
    headers.pop("content-length", None)
    kind = headers.pop("content-type", "application/json")
    headers[REPLAYED] = "true"
    return Response(replayed.reply.body, status_code=replayed.reply.status, headers=headers, media_type=kind)


def keeping_replies(app: ASGIApp) -> ASGIApp:
    """A request without a key passes through as it is."""

    async def enter(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP or not any(name == KEY.encode() for name, _ in scope["headers"]):
            await app(scope, receive, send)
            return
        keeping: Any = _Keeping(scope, send)
        scope[_KEEPING] = keeping  # type: ignore[literal-required]
        try:
            await app(scope, receive, keeping.send)
        finally:
            await keeping.close()

    return enter


class _Keeping:
    """Holds the reply of the copy that runs back until it is stored; what passes is sent and not stored.

    The handler runs to its end when its client has gone, so the reply of such a request is stored too.
    """

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope: Any = scope
        self._send = send
        self._start: Any = None
        self._body = bytearray()
        self._run: Run | None = None

    def begin(self, run: Run) -> None:
        self._run = run

    async def send(self, message: Message) -> None:
        if self._run is None:
            await self._send(message)
        elif message["type"] == "http.response.start":
            self._start = message
        else:
            self._body += message.get("body", b"")  # type: ignore[arg-type]
            if not message.get("more_body"):
                await self._tell(self._run)

    async def close(self) -> None:
        """Whatever was not stored is for the next copy to run again."""
        close_spool(self._scope)
        if self._run:
            await self._idempotency.let_go(self._run)

    async def _tell(self, run: Run) -> None:
        if self._holds_for_good():
            reply = Reply(self._start["status"], list(self._start["headers"]), bytes(self._body))
            await self._idempotency.finish(run, reply, self._scope["state"].get(_CONCERNS))
            self._run = None
        await self._send(self._start)
        await self._send({"type": "http.response.body", "body": bytes(self._body), "more_body": False})

    def _holds_for_good(self) -> bool:
        return not self._is_passing() and len(self._body) <= self._idempotency.limits.reply_bytes_max

    def _is_passing(self) -> bool:
        """Nothing was decided, so that the next copy may get another reply: what tells to come back, for one."""
        says_when = any(name.lower() == b"retry-after" for name, _ in self._start["headers"])
        is_noted = bool(self._scope["state"].get(IS_PASSING))
        return says_when or is_noted or self._start["status"] in PASSING_STATUSES

    @property
    def _idempotency(self) -> Idempotency:
        desk: Desk = self._scope["litestar_app"].state.desk
        return desk.idempotency


async def one_effect(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """The last of the guards: by now it is known who asks.

    A refused token is nobody's reply, so a copy sent with a token that has died since is refused like any other.
    """
    keeping: _Keeping | None = connection.scope.get(_KEEPING)  # type: ignore[assignment]
    if keeping is None or not is_writing(connection.scope["method"], handler):  # type: ignore[typeddict-item]
        return
    desk: Desk = connection.app.state.desk
    try:
        outcome = await desk.idempotency.begin(await _named(connection, desk))
    except OtherBody:
        raise Refusal(422, message=messages.KEY_REUSED) from None
    except StillRunning:
        raise Refusal(409, {"Retry-After": RETRY_AFTER_SECONDS}, message=messages.IN_PROGRESS) from None
    if isinstance(outcome, Reply):
        raise Replayed(outcome)
    keeping.begin(outcome)
    carry_out(outcome.command)


def is_writing(method: str, handler: BaseRouteHandler) -> bool:
    return method in WRITING_METHODS or bool(handler.opt.get(WRITES))


def concerns(request: Request[Any, Any, Any], account_id: UUID) -> None:
    """The reply tells of this account although nobody has logged in: it goes with the account's erasure."""
    request.scope["state"][_CONCERNS] = account_id


async def _named(request: Any, desk: Desk) -> KeyedRequest:
    claims = request.scope["state"].get("claims")
    account_id = claims.account_id if claims else None
    who = str(account_id) if account_id else f"from {client_address(request)}"
    query = request.scope["query_string"].decode("latin-1")
    route = f"{request.scope['method']} {request.scope['path']}?{query}"
    return desk.request_names.name(_key(request), who, route, await _digest(request, desk), account_id)


def _key(request: Request[Any, Any, Any]) -> str:
    given = request.headers.getall(KEY)
    if len(given) != 1 or not _FIT.fullmatch(given[0]):
        raise malformed()
    return given[0]


async def _digest(request: Request[Any, Any, Any], desk: Desk) -> str:
    """Of the body, without the border that a client makes anew for each copy of a form with a file."""
    _, options = request.content_type
    border = options.get("boundary", "").encode("latin-1", "replace")
    try:
        if request.route_handler.opt.get(SPOOLED):
            spool = await spooled(request, desk.portraits)
            return await asyncio.to_thread(digest_without, border, spool.pieces())
        return digest_without(border, iter([await request.body()]))
    except (BodyLost, InternalServerException):
        # The client went away in the middle: what it meant is not known, and nothing is done.
        raise malformed() from None
