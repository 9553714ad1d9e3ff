"""CORS: an allowed origin gets its headers, another one gets none and no error; pictures allow any origin."""

from collections.abc import Iterable
from typing import Any

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

# Request headers that we read beyond the safe-listed ones, and response headers that clients may read.
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
_PICTURES = ("/images/", "/avatars/")
_ANY = b"*"
_Headers = list[tuple[bytes, bytes]]
# Caches must not use the response to one origin for another.
_BY_ORIGIN = (b"vary", b"Origin")


def cors(app: ASGIApp, origins: Iterable[str]) -> ASGIApp:
    """`origins` are compared literally; `*` allows all.

    Caches share pictures between clients, so their headers are the same for every origin.
    """
    allowed = frozenset(origin.encode() for origin in origins)

    def response_headers(scope: Any, headers: dict[bytes, bytes]) -> tuple[bytes | None, _Headers]:
        """The allowed origin, if any, and the `Vary` header."""
        if scope["path"].startswith(_PICTURES):
            return _ANY, []
        origin = headers.get(b"origin")
        is_known = origin is not None and (origin in allowed or _ANY in allowed)
        return origin if is_known else None, [_BY_ORIGIN]

    async def middleware(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await app(scope, receive, send)
            return
        headers: dict[bytes, bytes] = dict(scope.get("headers", ()))
        origin, vary = response_headers(scope, headers)
        if _is_preflight(scope, headers):
            await _preflight(send, [*_preflight_headers(origin), *vary])
        else:
            await app(scope, receive, _with_headers(send, [*_headers(origin), *vary]))

    return middleware


def _is_preflight(scope: Any, headers: dict[bytes, bytes]) -> bool:
    has_headers = b"access-control-request-method" in headers and b"origin" in headers
    return has_headers and scope.get("method") == "OPTIONS"


def _headers(origin: bytes | None) -> _Headers:
    if origin is None:
        return []
    return [
        (b"access-control-allow-origin", origin),
        (b"access-control-expose-headers", _EXPOSED_HEADERS),
    ]


def _preflight_headers(origin: bytes | None) -> _Headers:
    if origin is None:
        return []
    return [
        (b"access-control-allow-origin", origin),
        (b"access-control-allow-methods", _METHODS),
        (b"access-control-allow-headers", _ALLOWED_HEADERS),
        (b"access-control-expose-headers", _EXPOSED_HEADERS),
        (b"access-control-max-age", _PREFLIGHT_SECONDS),
    ]


async def _preflight(send: Send, headers: _Headers) -> None:
    start: Any = {"type": "http.response.start", "status": 204, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _with_headers(send: Send, headers: _Headers) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *headers]
        await send(message)

    return send_with_headers
