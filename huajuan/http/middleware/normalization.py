"""Normalizes requests before routing: client address, canonical path, HEAD as GET without a body."""

from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from litestar import Request
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from huajuan.net.client_address import TrustedProxies, read_address

SETTING = "HUAJUAN_TRUSTED_PROXIES"
# Each untrusted peer is logged once, up to so many in a process.
PEERS_LOGGED_MAX = 100
_FORWARDED, _X_FORWARDED_FOR = b"forwarded", b"x-forwarded-for"
_FORWARDING = (_FORWARDED, b"x-forwarded-", b"x-real-ip")
_logger = structlog.get_logger(__name__)


def resolve_client(app: ASGIApp, trusted_proxies: Sequence[str]) -> ASGIApp:
    """Set `scope["client"]` to the client's own address in canonical form."""
    proxies, logged = TrustedProxies(trusted_proxies), set[str]()

    async def middleware(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP and scope.get("client"):
            scope["client"] = _client(scope, proxies, logged)
        await app(scope, receive, send)

    return middleware


def client_address(request: Request[Any, Any, Any]) -> str:
    """The client address for limits and idempotency keys; empty if the server has none."""
    return request.client.host if request.client else ""


def _client(scope: Any, proxies: TrustedProxies, logged: set[str]) -> tuple[str, int]:
    """The port is 0 if the client is not the peer itself."""
    peer, port = scope["client"]
    headers = [header for header in scope["headers"] if header[0].startswith(_FORWARDING)]
    if not headers:
        return str(read_address(peer) or peer), port
    if not proxies.trusts(read_address(peer)):
        _log_once(peer, headers[0][0].decode("latin-1"), logged)
    resolved = proxies.client(peer, _values(headers, _FORWARDED), _values(headers, _X_FORWARDED_FOR))
    return resolved, port if resolved == str(read_address(peer) or peer) else 0


def _values(headers: Sequence[tuple[bytes, bytes]], wanted: bytes) -> list[str]:
    return [value.decode("latin-1") for name, value in headers if name == wanted]


def _log_once(peer: str, header: str, logged: set[str]) -> None:
    if peer in logged or len(logged) >= PEERS_LOGGED_MAX:
        return
    logged.add(peer)
    _logger.warning(
        "forwarding header ignored: the peer is not a trusted proxy",
        peer=peer,
        header=header,
        setting=SETTING,
    )


# GET writes here, so HEAD is not allowed.
WRITING_GETS = frozenset({"/auth/score"})
_IS_HEAD = "huajuan.is_head"
# These routes handle HEAD themselves, without reading the picture.
_OWN_HEAD = ("/images/", "/avatars/")


def canonical_paths(app: ASGIApp) -> ASGIApp:
    """Remove empty segments and the slash at the end.

    The router ignores them; code that reads the path earlier must not see them either.
    """

    async def middleware(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP and ("//" in scope["path"] or scope["path"].endswith("/")):
            scope["path"] = "/" + "/".join(filter(None, scope["path"].split("/")))
        await app(scope, receive, send)

    return middleware


def head_as_get(app: ASGIApp) -> ASGIApp:
    """Pass a HEAD request on as a GET and drop the body of the response."""

    async def middleware(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP or scope["method"] != "HEAD" or not _is_read(scope["path"]):
            await app(scope, receive, send)
            return
        as_get: Any = {**scope, "method": "GET", _IS_HEAD: True}
        try:
            await app(as_get, receive, _without_body(send))
        finally:
            # The metrics of the request need its route.
            scope["path_template"] = as_get.get("path_template", "")

    return middleware


def add_head(path: str, headers: Mapping[str, str] | None) -> Mapping[str, str]:
    """The headers of a 405, with HEAD in `Allow` if GET is allowed."""
    given = {name.lower(): value for name, value in (headers or {}).items()}
    if "GET" in given.get("allow", "") and _is_read(path):
        given["allow"] += ", HEAD"
    return given


def is_head(scope: Scope) -> bool:
    """Whether the client sent HEAD where the handler sees GET."""
    return _IS_HEAD in scope


def _is_read(path: str) -> bool:
    return path not in WRITING_GETS and not path.startswith(_OWN_HEAD)


def _without_body(send: Send) -> Send:
    async def send_headers(message: Message) -> None:
        if message["type"] == "http.response.body":
            message["body"] = b""
        await send(message)

    return send_headers
