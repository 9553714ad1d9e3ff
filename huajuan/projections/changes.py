"""Counts, in memory that all workers of a server share, how often what a table shows of an account has changed."""

import mmap
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from uuid import UUID, uuid4

# Accounts share a counter where they must: then one forgets a little more than it needs to.
SLOTS = 4096
_TAG_BYTES = 16
_HEAD_BYTES = 64
# Counters of the head: the tenancy's number, and the nanosecond of the monotonic clock at which it ends.
_EPOCH, _UNTIL = 2, 3


class Changes:
    """A counter is odd while its rows are being changed, from before the commit until behind it.

    Who dies meanwhile, or does not know whether it committed, leaves it odd until the rows are changed again.
    `tag` names the server.
    """

    def __init__(self, memory: mmap.mmap, schemas: Sequence[str]) -> None:
        self.tag = memory[:_TAG_BYTES].decode().rstrip("\0")
        self._firsts = {schema: _HEAD_BYTES // 8 + n * (SLOTS + 1) for n, schema in enumerate(schemas)}
        self._counters = memoryview(memory).cast("Q")

    def at(self, schema: str, account_id: UUID | None = None) -> int:
        """The place of a counter: of this account, or of the table as a whole."""
        first = self._firsts[schema]
        return first if account_id is None else first + 1 + account_id.int % SLOTS

    def begin(self, touched: Mapping[str, Iterable[UUID]]) -> list[int]:
        """Before rows of these accounts are committed. Returns what `end` takes."""
        places = [self.at(schema) for schema in touched]
        places += {self.at(schema, account) for schema, accounts in touched.items() for account in accounts}
        for place in places:
            self._counters[place] |= 1
        return places

    def end(self, places: Iterable[int]) -> None:
        """They are committed, for certain."""
        for place in places:
            self._counters[place] = (self._counters[place] | 1) + 1

    def seen(self, places: Iterable[int]) -> tuple[int, ...] | None:
        """Equal later if nothing has changed there; `None` if something is changing, or nobody may remember."""
        counters = self._counters
        if counters[_UNTIL] <= time.monotonic_ns():
            return None
        counts = (counters[_EPOCH], *[counters[place] for place in places])
        return None if any(count & 1 for count in counts[1:]) else counts

    def tenancy(self, epoch: int, until_ns: int) -> None:
        """Until then only this server changes the tables. What was seen in another tenancy counts no more."""
        self._counters[_EPOCH] = epoch
        self._counters[_UNTIL] = until_ns

    @property
    def left_seconds(self) -> float:
        """Until the tenancy ends."""
        return max(0.0, (self._counters[_UNTIL] - time.monotonic_ns()) / 1e9)


def own_changes(schemas: Sequence[str]) -> Changes:
    """Of a server that is one process."""
    memory = mmap.mmap(-1, _size(schemas))
    memory[:_TAG_BYTES] = _new_tag()
    return Changes(memory, schemas)


def make_changes_file(path: Path, schemas: Sequence[str]) -> None:
    """For the workers of a server, before any of them starts."""
    path.write_bytes(_new_tag().ljust(_size(schemas), b"\0"))


def shared_changes(path: Path, schemas: Sequence[str]) -> Changes:
    with path.open("r+b") as file:
        return Changes(mmap.mmap(file.fileno(), 0), schemas)


def _size(schemas: Sequence[str]) -> int:
    return _HEAD_BYTES + 8 * len(schemas) * (SLOTS + 1)


def _new_tag() -> bytes:
    return uuid4().hex[:_TAG_BYTES].encode()
