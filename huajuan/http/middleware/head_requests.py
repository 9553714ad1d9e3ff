"""HEAD: every GET route replies with the headers of its GET and without a body."""

from collections.abc import Mapping
from typing import Any

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

IS_HEAD = "huajuan.is_head"
# These read no content for a HEAD, so they handle it themselves.
_OWN_HEAD = ("/images/", "/avatars/")
# Its GET checks in, and HEAD must change nothing: there it is a wrong method.
_WRITING_GETS = frozenset({"/auth/score"})


def head_as_get(app: ASGIApp) -> ASGIApp:
    """The application sees a GET with `IS_HEAD` in its scope."""

    async def enter(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP or scope["method"] != "HEAD" or not _is_read(scope["path"]):
            await app(scope, receive, send)
            return
        as_get: Any = {**scope, "method": "GET", IS_HEAD: True}
        try:
            await app(as_get, receive, _without_body(send))
        finally:
            # The request's metrics name its route.
            scope["path_template"] = as_get.get("path_template", "")

    return enter


def with_head(path: str, headers: Mapping[str, str] | None) -> Mapping[str, str]:
    """The headers of a 405, whose `Allow` names HEAD where GET is allowed."""
    given = {name.lower(): value for name, value in (headers or {}).items()}
    if "GET" in given.get("allow", "") and _is_read(path):
        given["allow"] += ", HEAD"
    return given


def is_head(scope: Scope) -> bool:
    """Whether a route that answers as for GET answers a HEAD."""
    return IS_HEAD in scope


def _is_read(path: str) -> bool:
    return path not in _WRITING_GETS and not path.startswith(_OWN_HEAD)


def _without_body(send: Send) -> Send:
    async def send_headers(message: Message) -> None:
        if message["type"] == "http.response.body":
            message["body"] = b""
        await send(message)

    return send_headers
