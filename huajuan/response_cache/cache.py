"""The cached replies of one worker, each with the versions of the rows that it was made of, and the ASGI
middleware that answers from them and stores the replies that it passes on.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple
from uuid import UUID

from huajuan.postgres.statements import Statements
from huajuan.response_cache.lease import CacheLease
from huajuan.response_cache.versions import CacheVersions

# As ASGI has them; the web framework has types of its own for the same.
App = Callable[[Any, Any, Any], Any]
_OK = 200
_REPLY_BYTES_MAX = 1 << 18
# The memory of an entry without its body and its query.
_ENTRY_BYTES = 2_000
# The account, the path, and the query with the content coding.
CacheKey = tuple[UUID, str, bytes]


class Source(NamedTuple):
    """A read table that a reply is made of: the account's own rows of it, or any rows."""

    schema: str
    is_own: bool


class CachedReply(NamedTuple):
    """`start` is the ASGI message that begins the reply."""

    versions: tuple[int, ...]
    start: Any
    body: bytes


class ResponseCache:
    """At most `bytes_max` in all; the least recently used reply is removed first. 0 disables it."""

    def __init__(
        self, statements: Statements, versions: CacheVersions, lease_seconds: float, bytes_max: int
    ) -> None:
        self.hits = 0
        self._versions = versions
        self._lease = CacheLease(statements, versions, lease_seconds)
        self._bytes_max = bytes_max
        self._bytes = 0
        self._replies: OrderedDict[CacheKey, CachedReply] = OrderedDict()

    async def run(self) -> None:
        """Keeps the lease while it is requested. Runs until cancelled."""
        await self._lease.renew_while_requested()

    def request_lease(self) -> None:
        self._lease.request()

    def versions_of(self, account_id: UUID, sources: Iterable[Source]) -> tuple[int, ...] | None:
        """The versions of the rows that such a reply is made of; `None` while it may not be cached."""
        slot = self._versions.slot
        return self._versions.current(
            [slot(schema, account_id if is_own else None) for schema, is_own in sources]
        )

    def get(self, key: CacheKey, versions: tuple[int, ...]) -> CachedReply | None:
        reply = self._replies.get(key)
        if reply is None or reply.versions != versions:
            return None
        self._replies.move_to_end(key)
        self.hits += 1
        return reply

    def put(self, key: CacheKey, reply: CachedReply) -> None:
        """The versions must have been the same before and after the reply was made."""
        size = _size(key, reply)
        if size > min(_REPLY_BYTES_MAX, self._bytes_max):
            return
        self._remove(key)
        self._replies[key] = reply
        self._bytes += size
        while self._bytes > self._bytes_max:
            self._remove(next(iter(self._replies)))

    def _remove(self, key: CacheKey) -> None:
        if reply := self._replies.pop(key, None):
            self._bytes -= _size(key, reply)


def _size(key: CacheKey, reply: CachedReply) -> int:
    return _ENTRY_BYTES + len(key[2]) + len(reply.body)


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
            # A copy: outer middleware adds headers of its own request to it.
            await send({**reply.start})
            await send({"type": "http.response.body", "body": reply.body, "more_body": False})
            return
        recorder = _Recorder(send)
        await app(scope, receive, recorder.send)
        if recorder.is_success and versions == cache.versions_of(account_id, routes[path]):
            cache.put(key, CachedReply(versions, recorder.start, recorder.body))

    return respond


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
