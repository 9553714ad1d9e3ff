"""The door: each request gets an id that is echoed, logged, and written into the facts it leads to."""

import asyncio
import re
import time
from typing import Any
from uuid import uuid4

import msgspec
import structlog
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from huajuan.event_store.request_context import answer
from huajuan.http import messages
from huajuan.http.middleware.request_metrics import Meter
from huajuan.observability.logs import REQUEST_ID

_FIT = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")
# Whom an admin asks about is nobody else's business.
_ABOUT_OTHERS = "/admin/users/"
_HEADER = b"x-request-id"
_NO_SNIFFING = (b"x-content-type-options", b"nosniff")
# Of every reply that does not say itself how long it may be kept.
_NO_STORE = (b"cache-control", b"no-store")
NO_ROUTE = "none"
_logger = structlog.get_logger("huajuan.http")


def request_id() -> str:
    return REQUEST_ID.get()


def door(app: ASGIApp, meter: Meter) -> ASGIApp:
    """Wraps the whole application, unknown routes included."""

    async def enter(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await app(scope, receive, send)
            return
        # Each request is a task of its own, and what is set here ends with it.
        name = _id_of(scope)
        REQUEST_ID.set(name)
        answer(name)
        told, began = _Told(), time.perf_counter()
        try:
            await _serve(app, scope, receive, send, name, told)
        finally:
            _note(scope, meter, told.status, time.perf_counter() - began)

    return enter


def _note(scope: Any, meter: Meter, status: int, seconds: float) -> None:
    """The request is logged and counted, however it ended."""
    method, path = scope["method"], scope["path"]
    meter.count(method, scope.get("path_template") or NO_ROUTE, status, seconds)
    if path.startswith(_ABOUT_OTHERS):
        path = scope.get("path_template") or f"{_ABOUT_OTHERS}…"
    peer = scope.get("client")
    _logger.info(
        "request",
        method=method,
        path=path,
        status=status,
        ms=round(seconds * 1000, 1),
        client=peer[0] if peer else "",
    )


class _Told:
    """The status that the client was told; 0 if nothing yet."""

    status = 0


async def _serve(app: ASGIApp, scope: Scope, receive: Receive, send: Send, name: str, told: _Told) -> None:
    async def send_with_id(message: Message) -> None:
        if message["type"] == "http.response.start":
            told.status = message["status"]
            headers = [*message["headers"], (_HEADER, name.encode()), _NO_SNIFFING]
            if not any(header == b"cache-control" for header, _ in headers):
                headers.append(_NO_STORE)
            message["headers"] = headers
        await send(message)

    try:
        await app(scope, receive, send_with_id)
    except asyncio.CancelledError:
        # The server stops, and has waited for long enough. What was begun goes on at the next start.
        if not told.status:
            await _send_busy(send_with_id)


async def _send_busy(send: Send) -> None:
    body = msgspec.json.encode({"code": 503, "message": messages.BUSY})
    start: Any = {
        "type": "http.response.start",
        "status": 503,
        "headers": [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"retry-after", b"1"),
        ],
    }
    await send(start)
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _id_of(scope: Any) -> str:
    """The caller's id if it is one line of harmless characters, else a new one."""
    for header, value in scope["headers"]:
        if header == _HEADER and _FIT.fullmatch(value):
            return str(value.decode())
    return uuid4().hex
