"""ASGI middleware that answers from the response cache, and stores the replies that it passes on."""

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from huajuan.response_cache.cache import CachedReply, CacheKey, ResponseCache, Source

# As ASGI has them; the web framework has types of its own for the same.
App = Callable[[Any, Any, Any], Any]
_OK = 200


def cache_responses(
    app: App,
    routes: Mapping[str, tuple[Source, ...]],
    find_cache: Callable[[Any], tuple[ResponseCache, UUID | None]],
    content_coding: Callable[[Any], bytes],
) -> App:
    """GET requests of the paths in `routes` are cached, all others pass through.

    For the scope of a request, `find_cache` returns the worker's cache and the account, if that is
    authenticated without a query; `content_coding` returns the coding in which the reply will be sent.
    """

    async def respond(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["method"] != "GET" or scope["path"] not in routes:
            await app(scope, receive, send)
            return
        path, (cache, account_id) = scope["path"], find_cache(scope)
        cache.request_lease()
        versions = cache.versions_of(account_id, routes[path]) if account_id else None
        if account_id is None or versions is None:
            await app(scope, receive, send)
            return
        # A query has no space in it.
        key: CacheKey = (account_id, path, scope["query_string"] + b" " + content_coding(scope))
        if reply := cache.get(key, versions):
            scope["path_template"] = path
            await _send(send, reply)
            return
        recorder = _Recorder(send)
        await app(scope, receive, recorder.send)
        if recorder.is_success and versions == cache.versions_of(account_id, routes[path]):
            cache.put(key, CachedReply(versions, recorder.start, recorder.body))

    return respond


async def _send(send: Any, reply: CachedReply) -> None:
    # A copy: outer middleware adds headers of its own request to it.
    await send({**reply.start})
    await send({"type": "http.response.body", "body": reply.body, "more_body": False})


class _Recorder:
    """Passes a reply on and keeps a copy. Cached routes send the body in one part."""

    def __init__(self, send: Any) -> None:
        self._send = send
        self.start: Any = None
        self.body = b""
        self.is_success = False

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.start = {**message}
        elif message["type"] == "http.response.body" and not message.get("more_body"):
            self.body = bytes(message["body"])
            self.is_success = self.start["status"] == _OK
        await self._send(message)
