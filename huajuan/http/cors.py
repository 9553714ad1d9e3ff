"""Cross-origin rules of the contract: a known origin gets its headers, an unknown one gets none and no error."""

from collections.abc import Iterable
from typing import Any

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

# All that is read of a request and is not safe of itself, and all that a reply may tell beside its body.
_ALLOWED_HEADERS = (
    b"Authorization, Content-Type, Idempotency-Key, Prefer, Last-Event-ID, X-Request-Id, "
    b"If-None-Match, If-Range, Range"
)
_EXPOSED_HEADERS = (
    b"Location, Retry-After, ETag, Link, X-Request-Id, Idempotency-Replayed, Preference-Applied, "
    b"Content-Disposition, Content-Range, Accept-Ranges"
)
_METHODS = b"GET, HEAD, POST, PUT, DELETE, OPTIONS"
_PREFLIGHT_SECONDS = b"600"


def cors(app: ASGIApp, origins: Iterable[str]) -> ASGIApp:
    """`origins` are compared as they are; `*` allows every one."""
    allowed = frozenset(origin.encode() for origin in origins)

    async def enter(scope: Scope, receive: Receive, send: Send) -> None:
        headers: dict[bytes, bytes] = dict(scope.get("headers", ()))
        origin = headers.get(b"origin")
        if scope["type"] != ScopeType.HTTP or origin is None:
            await app(scope, receive, send)
            return
        known = origin in allowed or b"*" in allowed
        if scope.get("method") == "OPTIONS" and b"access-control-request-method" in headers:
            await _preflight(send, _preflight_headers(origin) if known else [])
        else:
            await app(scope, receive, _with_headers(send, _headers(origin) if known else []))

    return enter


def _headers(origin: bytes) -> list[tuple[bytes, bytes]]:
    return [
        (b"access-control-allow-origin", origin),
        (b"access-control-expose-headers", _EXPOSED_HEADERS),
    ]


def _preflight_headers(origin: bytes) -> list[tuple[bytes, bytes]]:
    return [
        (b"access-control-allow-origin", origin),
        (b"access-control-allow-methods", _METHODS),
        (b"access-control-allow-headers", _ALLOWED_HEADERS),
        (b"access-control-max-age", _PREFLIGHT_SECONDS),
    ]


async def _preflight(send: Send, headers: list[tuple[bytes, bytes]]) -> None:
    start: Any = {"type": "http.response.start", "status": 204, "headers": [*headers, (b"vary", b"Origin")]}
    await send(start)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _with_headers(send: Send, headers: list[tuple[bytes, bytes]]) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *headers, (b"vary", b"Origin")]
        await send(message)

    return send_with_headers
