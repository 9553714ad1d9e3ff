"""The cached replies of one worker, each with the versions of the rows that it was made of."""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, NamedTuple
from uuid import UUID

from huajuan.postgres.statements import Statements
from huajuan.response_cache.lease import CacheLease
from huajuan.response_cache.versions import CacheVersions

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
