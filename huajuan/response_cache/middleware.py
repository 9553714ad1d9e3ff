"""Hot reads are answered from memory where that is exact, before anything else is done for them."""

from typing import Any

from litestar import Litestar
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from huajuan.auth.tokens import Claims, TokenExpired, TokenInvalid
from huajuan.http.middleware.compression import coding_for
from huajuan.http.middleware.guards import token_in
from huajuan.http.services import Desk
from huajuan.response_cache.cache import MADE_OF, Question, Reply

_OK = 200


def remembering(app: ASGIApp, litestar: Litestar) -> ASGIApp:
    """All but the hot reads pass through as they are."""

    async def enter(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP or scope["path"] not in MADE_OF or scope["method"] != "GET":
            await app(scope, receive, send)
            return
        desk: Desk = litestar.state.desk
        desk.tenancy.want()
        claims = _admitted(scope, desk)
        seen = desk.memory.seen(claims.account_id, scope["path"]) if claims else None
        if claims is None or seen is None:
            await app(scope, receive, send)
            return
        # A query has no space in it.
        variant = b" " + coding_for(scope)
        question = (claims.account_id, scope["path"], scope["query_string"] + variant)
        if reply := desk.memory.recall(question, seen):
            scope["path_template"] = scope["path"]
            await _tell(send, reply)
        else:
            heard = _Hearing(send)
            await app(scope, receive, heard.send)
            _keep(desk, question, heard, seen)

    return enter


async def _tell(send: Send, reply: Reply) -> None:
    # Whoever sends it on puts headers of its own request into it.
    start: Any = {**reply.start}
    await send(start)
    await send({"type": "http.response.body", "body": reply.body, "more_body": False})


def _keep(desk: Desk, question: Question, heard: "_Hearing", seen: tuple[int, ...]) -> None:
    """If nothing changed between the question and the reply."""
    account_id, path, _ = question
    if heard.is_success and seen == desk.memory.seen(account_id, path):
        desk.memory.keep(question, Reply(seen, heard.start, heard.body))


class _Hearing:
    """Passes a reply on, and hears it."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.start: Any = None
        self.body = b""
        self.is_success = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.start = {**message}
        elif message["type"] == "http.response.body" and not message.get("more_body"):
            self.body = bytes(message["body"])
            self.is_success = self.start["status"] == _OK
        await self._send(message)


def _admitted(scope: Any, desk: Desk) -> Claims | None:
    """Who asks, if their token is known to be good. The guard looks at the others."""
    given = [value for name, value in scope["headers"] if name == b"authorization"]
    if len(given) != 1:
        return None
    try:
        claims = desk.tokens.verify(token_in(given[0].decode("latin-1")))
    except (TokenExpired, TokenInvalid):
        return None
    return claims if desk.sessions.has_admitted(claims.jti) else None
