"""Resolves the address of each client behind trusted proxies, before anything else reads it."""

from collections.abc import Sequence
from typing import Any

import structlog
from litestar import Request
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from huajuan.net.client_address import TrustedProxies, read_address

SETTING = "HUAJUAN_TRUSTED_PROXIES"
# Peers that are told of once each, in a process.
PEERS_TOLD_MAX = 100
_FORWARDED, _X_FORWARDED_FOR = b"forwarded", b"x-forwarded-for"
_OTHERS = (b"x-forwarded-", b"x-real-ip")
_logger = structlog.get_logger(__name__)


def behind_proxies(app: ASGIApp, trusted_proxies: Sequence[str]) -> ASGIApp:
    """From here on `scope["client"]` is the client's own address in canonical form."""
    proxies, told = TrustedProxies(trusted_proxies), set[str]()

    async def enter(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP and scope.get("client"):
            scope["client"] = _client(scope, proxies, told)
        await app(scope, receive, send)

    return enter


def client_address(request: Request[Any, Any, Any]) -> str:
    """The address that limits and idempotency keys go by; empty if the server knows none."""
    return request.client.host if request.client else ""


def _client(scope: Any, proxies: TrustedProxies, told: set[str]) -> tuple[str, int]:
    """The port is the peer's own, or 0 where another client is meant."""
    peer, port = scope["client"]
    headers = [(name, value) for name, value in scope["headers"] if _forwards(name)]
    if headers and not proxies.trusts(read_address(peer)):
        _tell_once(peer, headers[0][0].decode("latin-1"), told)
    resolved = proxies.client(peer, _lines(headers, _FORWARDED), _lines(headers, _X_FORWARDED_FOR))
    return resolved, port if resolved == str(read_address(peer) or peer) else 0


def _forwards(name: bytes) -> bool:
    return name == _FORWARDED or name.startswith(_OTHERS)


def _lines(headers: Sequence[tuple[bytes, bytes]], wanted: bytes) -> list[str]:
    return [value.decode("latin-1") for name, value in headers if name == wanted]


def _tell_once(peer: str, header: str, told: set[str]) -> None:
    if peer in told or len(told) >= PEERS_TOLD_MAX:
        return
    told.add(peer)
    _logger.warning(
        "forwarding header ignored: the peer is not a trusted proxy",
        peer=peer,
        header=header,
        setting=SETTING,
    )
