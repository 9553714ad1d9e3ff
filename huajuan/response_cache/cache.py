"""Replies to hot reads, remembered as long as it is certain that the tables show the same."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NamedTuple
from uuid import UUID

from huajuan.projections.engine.projection import Projection
from huajuan.projections.favorites import FAVORITES
from huajuan.projections.history import HISTORY
from huajuan.projections.point_balances import POINT_BALANCES
from huajuan.projections.users import USERS
from huajuan.response_cache.versions import Changes

OWN, WHOLE = True, False
# What each reply is made of: rows of one's own, or of anybody.
MADE_OF: Mapping[str, tuple[tuple[Projection, bool], ...]] = {
    "/auth/user/info": ((USERS, OWN), (POINT_BALANCES, OWN)),
    "/auth/user/images": ((HISTORY, OWN), (USERS, OWN)),
    "/auth/user/favoritedimages": ((FAVORITES, OWN), (HISTORY, WHOLE), (USERS, WHOLE)),
}
_REPLY_BYTES_MAX = 1 << 18
# What a reply takes beside its body and its question's text.
_BESIDE_BYTES = 2_000
Question = tuple[UUID, str, bytes]


class Reply(NamedTuple):
    """`seen` tells where the rows stood, `start` is the message that a reply begins with."""

    seen: tuple[int, ...]
    start: Any
    body: bytes


class Memory:
    """The replies of one worker, least recently told forgotten first. At most `bytes_max`, what is
    around a reply included; 0 remembers nothing."""

    def __init__(self, changes: Changes, bytes_max: int) -> None:
        self.told = 0
        self._changes = changes
        self._bytes_max = bytes_max
        self._bytes = 0
        self._replies: OrderedDict[Question, Reply] = OrderedDict()

    def seen(self, account_id: UUID, path: str) -> tuple[int, ...] | None:
        """Where the rows stand that such a reply is made of; `None` while nothing may be remembered."""
        at = self._changes.at
        return self._changes.seen(
            [at(of.schema, account_id if is_own else None) for of, is_own in MADE_OF[path]]
        )

    def recall(self, question: Question, seen: tuple[int, ...]) -> Reply | None:
        reply = self._replies.get(question)
        if reply is None or reply.seen != seen:
            return None
        self._replies.move_to_end(question)
        self.told += 1
        return reply

    def keep(self, question: Question, reply: Reply) -> None:
        """A reply that was begun and ended while nothing changed."""
        taken = _bytes_of(question, reply)
        if taken > min(_REPLY_BYTES_MAX, self._bytes_max):
            return
        self._forget(question)
        self._replies[question] = reply
        self._bytes += taken
        while self._bytes > self._bytes_max:
            self._forget(next(iter(self._replies)))

    def _forget(self, question: Question) -> None:
        if reply := self._replies.pop(question, None):
            self._bytes -= _bytes_of(question, reply)


def _bytes_of(question: Question, reply: Reply) -> int:
    return _BESIDE_BYTES + len(question[2]) + len(reply.body)
