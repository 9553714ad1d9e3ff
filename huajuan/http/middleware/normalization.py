"""Normalizes requests before routing: the canonical path, and HEAD as GET without a body."""

from collections.abc import Mapping
from typing import Any

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

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
