"""Finds the address of each client behind trusted proxies, before any other code reads it."""

from collections.abc import Sequence
from typing import Any

import structlog
from litestar import Request
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

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
