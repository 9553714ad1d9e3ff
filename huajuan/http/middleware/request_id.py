"""Assigns an id to each request, for its response, log lines and events; logs and counts requests."""

import asyncio
import os
import re
import time
from typing import Any

import msgspec
import structlog
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from huajuan.event_store.request_context import set_correlation_id
from huajuan.http.errors import BUSY
from huajuan.http.middleware.request_metrics import WorkerMetrics
from huajuan.runtime.logs import REQUEST_ID

_VALID_ID = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")
# The log does not name the accounts that admins look at.
_PRIVATE_PREFIX = "/admin/users/"
_HEADER = b"x-request-id"
_NO_SNIFFING = (b"x-content-type-options", b"nosniff")
# The default; a response may set another Cache-Control.
_NO_STORE = (b"cache-control", b"no-store")
NO_ROUTE = "none"
_logger = structlog.get_logger("huajuan.http")


def identify_requests(app: ASGIApp, metrics: WorkerMetrics) -> ASGIApp:
    """Wrap the whole application, so that unknown routes get an id as well."""

    async def middleware(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await app(scope, receive, send)
            return
        # Each request is a task of its own, so these context variables end with it.
        request_id = _id_of(scope)
        REQUEST_ID.set(request_id)
        set_correlation_id(request_id)
        sent, began = _SentStatus(), time.perf_counter()
        try:
            await _serve(app, scope, receive, send, request_id, sent)
        finally:
            _record(scope, metrics, sent.status, time.perf_counter() - began)

    return middleware


def _record(scope: Any, metrics: WorkerMetrics, status: int, seconds: float) -> None:
    method, path = scope["method"], scope["path"]
    metrics.count(method, scope.get("path_template") or NO_ROUTE, status, seconds)
    if path.startswith(_PRIVATE_PREFIX):
        path = scope.get("path_template") or f"{_PRIVATE_PREFIX}…"
    peer = scope.get("client")
    _logger.info(
        "request",
        method=method,
        path=path,
        status=status,
        ms=round(seconds * 1000, 1),
        client=peer[0] if peer else "",
    )


class _SentStatus:
    """The status sent to the client; 0 before the response starts."""

    status = 0


async def _serve(
    app: ASGIApp, scope: Scope, receive: Receive, send: Send, request_id: str, sent: _SentStatus
) -> None:
    async def send_with_id(message: Message) -> None:
        if message["type"] == "http.response.start":
            sent.status = message["status"]
            headers = [*message["headers"], (_HEADER, request_id.encode()), _NO_SNIFFING]
            if not any(header == b"cache-control" for header, _ in headers):
                headers.append(_NO_STORE)
            message["headers"] = headers
        await send(message)

    try:
        await app(scope, receive, send_with_id)
    except asyncio.CancelledError:
        # The server has waited its time limit and shuts down. Started jobs continue after the next start.
        if not sent.status:
            await _send_busy(send_with_id)


async def _send_busy(send: Send) -> None:
    body = msgspec.json.encode({"code": BUSY.status, **BUSY.body})
    headers = {"content-type": "application/json", "content-length": str(len(body))} | BUSY.headers
    start: Any = {
        "type": "http.response.start",
        "status": BUSY.status,
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
    }
    await send(start)
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _id_of(scope: Any) -> str:
    """The client's id if it is valid, else a new one."""
    for header, value in scope["headers"]:
        if header == _HEADER and _VALID_ID.fullmatch(value):
            return str(value.decode())
    return os.urandom(16).hex()
