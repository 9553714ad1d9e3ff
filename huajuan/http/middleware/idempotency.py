"""The `Idempotency-Key` header: a repeated request changes nothing and gets the stored first response."""

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

from huajuan.event_store.request_context import set_command
from huajuan.http import messages
from huajuan.http.errors import MALFORMED, RETRY_AFTER_SECONDS, ApiError
from huajuan.http.middleware.exceptions import IS_TRANSIENT
from huajuan.http.middleware.normalization import client_address
from huajuan.http.services import Services
from huajuan.http.uploads import SPOOLED, BodyIncomplete, close_spool, digest_without, receive_spool
from huajuan.idempotency.service import (
    BodyMismatch,
    Idempotency,
    IdempotentRequest,
    RequestRun,
    StillRunning,
    StoredReply,
)

KEY = "idempotency-key"
REPLAYED = "Idempotency-Replayed"
WRITING_METHODS = frozenset({"POST", "PUT", "PATCH", "DELETE"})
# The handler option of a GET route that writes.
WRITES = "writes"
# Responses with these statuses are not stored; other errors are stored like successes.
TRANSIENT_STATUSES = frozenset({429, 503})
KEY_CHARACTERS_MAX = 255
KEY_REUSED = ApiError(422, message=messages.KEY_REUSED)
IN_PROGRESS = ApiError(409, {"Retry-After": RETRY_AFTER_SECONDS}, message=messages.IN_PROGRESS)
_VALID_KEY = re.compile(rf"[!-~]{{1,{KEY_CHARACTERS_MAX}}}")
_RECORDER = "response_recorder"
_ACCOUNT = "response_account"


class ReplayedResponse(Exception):
    """An earlier request with the same key has already stored its response."""

    def __init__(self, stored: StoredReply) -> None:
        super().__init__(stored.status)
        self.stored = stored


def on_replayed(_: Request[Any, Any, Any], replayed: ReplayedResponse) -> Response[bytes]:
    stored = replayed.stored
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in stored.headers}
    headers.pop("content-length", None)
    kind = headers.pop("content-type", "application/json")
    headers[REPLAYED] = "true"
    return Response(stored.body, status_code=stored.status, headers=headers, media_type=kind)


def store_keyed_responses(app: ASGIApp) -> ASGIApp:
    """Store the responses of requests with a key; other requests pass through unchanged."""

    async def middleware(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP or not any(name == KEY.encode() for name, _ in scope["headers"]):
            await app(scope, receive, send)
            return
        recorder: Any = _ResponseRecorder(scope, send)
        scope[_RECORDER] = recorder  # type: ignore[literal-required]
        try:
            await app(scope, receive, recorder.send)
        finally:
            await recorder.close()

    return middleware


class _ResponseRecorder:
    """Holds a response back until it is stored. A transient response is sent without being stored.

    The handler runs to its end even if its client disconnects, so that response is stored as well.
    """

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope: Any = scope
        self._send = send
        self._start: Any = None
        self._body = bytearray()
        self._run: RequestRun | None = None

    def begin(self, run: RequestRun) -> None:
        self._run = run

    async def send(self, message: Message) -> None:
        if self._run is None:
            await self._send(message)
        elif message["type"] == "http.response.start":
            self._start = message
        else:
            self._body += message.get("body", b"")  # type: ignore[arg-type]
            if not message.get("more_body"):
                await self._store_and_send(self._run)

    async def close(self) -> None:
        """Release a claim whose response was not stored: the next request with the key runs again."""
        close_spool(self._scope)
        if self._run:
            await self._idempotency.release(self._run)

    async def _store_and_send(self, run: RequestRun) -> None:
        if self._is_storable():
            stored = StoredReply(self._start["status"], list(self._start["headers"]), bytes(self._body))
            await self._idempotency.finish(run, stored, self._scope["state"].get(_ACCOUNT))
            self._run = None
        await self._send(self._start)
        await self._send({"type": "http.response.body", "body": bytes(self._body), "more_body": False})

    def _is_storable(self) -> bool:
        return not self._is_transient() and len(self._body) <= self._idempotency.limits.reply_bytes_max

    def _is_transient(self) -> bool:
        """Nothing was decided, so that a later request may get another response."""
        has_retry_after = any(name.lower() == b"retry-after" for name, _ in self._start["headers"])
        is_marked = bool(self._scope["state"].get(IS_TRANSIENT))
        return has_retry_after or is_marked or self._start["status"] in TRANSIENT_STATUSES

    @property
    def _idempotency(self) -> Idempotency:
        services: Services = self._scope["litestar_app"].state.services
        return services.idempotency


async def claim_key(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """The last guard: the account of the request is known by now.

    A 401 is not stored, so a repeated request with a revoked token is refused like any other.
    """
    recorder: _ResponseRecorder | None = connection.scope.get(_RECORDER)  # type: ignore[assignment]
    if recorder is None or not is_writing(
        connection.scope["method"],  # type: ignore[typeddict-item]
        handler,
    ):
        return
    services: Services = connection.app.state.services
    try:
        outcome = await services.idempotency.begin(await _keyed_request(connection, services))
    except BodyMismatch:
        raise KEY_REUSED from None
    except StillRunning:
        raise IN_PROGRESS from None
    if isinstance(outcome, StoredReply):
        raise ReplayedResponse(outcome)
    recorder.begin(outcome)
    set_command(outcome.command)


def is_writing(method: str, handler: BaseRouteHandler) -> bool:
    return method in WRITING_METHODS or bool(handler.opt.get(WRITES))


def store_response_for(request: Request[Any, Any, Any], account_id: UUID) -> None:
    """Name the account that a response without a token is about: its erasure deletes the stored response."""
    request.scope["state"][_ACCOUNT] = account_id


async def _keyed_request(request: Any, services: Services) -> IdempotentRequest:
    claims = request.scope["state"].get("claims")
    account_id = claims.account_id if claims else None
    client = str(account_id) if account_id else f"from {client_address(request)}"
    query = request.scope["query_string"].decode("latin-1")
    route = f"{request.scope['method']} {request.scope['path']}?{query}"
    digest = await _body_digest(request, services)
    return services.idempotency_keys.name(_key_of(request), client, route, digest, account_id)


def _key_of(request: Request[Any, Any, Any]) -> str:
    given = request.headers.getall(KEY)
    if len(given) != 1 or not _VALID_KEY.fullmatch(given[0]):
        raise MALFORMED
    return given[0]


async def _body_digest(request: Request[Any, Any, Any], services: Services) -> str:
    _, options = request.content_type
    boundary = options.get("boundary", "").encode("latin-1", "replace")
    try:
        if request.route_handler.opt.get(SPOOLED):
            spool = await receive_spool(request, services.avatar_maker)
            return await asyncio.to_thread(digest_without, boundary, spool.chunks())
        return digest_without(boundary, iter([await request.body()]))
    except (BodyIncomplete, InternalServerException):
        raise MALFORMED from None
