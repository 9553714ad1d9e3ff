"""Gives every request the path that its route has: no empty segment and no slash at the end."""

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send


def canonical_paths(app: ASGIApp) -> ASGIApp:
    """The router ignores such slashes, so whatever looks at a path before it must not see them either."""

    async def enter(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP and ("//" in scope["path"] or scope["path"].endswith("/")):
            scope["path"] = "/" + "/".join(filter(None, scope["path"].split("/")))
        await app(scope, receive, send)

    return enter
