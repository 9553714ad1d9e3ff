"""Counts, in memory that all workers of a server share, how often what a table shows of an account has changed."""

import mmap
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from uuid import UUID, uuid4

# Accounts share a counter where they must: then one forgets a little more than it needs to.
SLOTS = 4096
# Beside the tables: accounts some of whose tokens have died.
SESSIONS = "sessions"
_TAG_BYTES = 16
_HEAD_BYTES = 64
# Of the head: the tenancy's number, and the nanosecond of the monotonic clock at which it ends.
_EPOCH, _UNTIL = 2, 3


class Changes:
    """Each place has two counts: changes that were begun, before their commit, and the last one that is certain to
    have ended. While they differ its rows are being changed.

    Begins are one at a time, since whoever folds holds the table's checkpoint. Ends may come late and in any order:
    only that of the newest change makes the counts equal. Who dies meanwhile, or does not know whether it committed,
    leaves them different until the rows are changed again. `tag` names the server.
    """

    def __init__(self, memory: mmap.mmap, schemas: Sequence[str]) -> None:
        self.tag = memory[:_TAG_BYTES].decode().rstrip("\0")
        names = (*schemas, SESSIONS)
        self._firsts = {name: n * (SLOTS + 1) for n, name in enumerate(names)}
        counts = memoryview(memory).cast("Q")
        self._head = counts[: _HEAD_BYTES // 8]
        places = len(names) * (SLOTS + 1)
        self._begun = counts[_HEAD_BYTES // 8 : _HEAD_BYTES // 8 + places]
        self._ended = counts[_HEAD_BYTES // 8 + places : _HEAD_BYTES // 8 + 2 * places]

    def at(self, schema: str, account_id: UUID | None = None) -> int:
        """The place of this account, or of the table as a whole."""
        first = self._firsts[schema]
        return first if account_id is None else first + 1 + account_id.int % SLOTS

    def begin(self, touched: Mapping[str, Iterable[UUID]]) -> dict[int, int]:
        """Before rows of these accounts are committed. Returns what `end` takes."""
        places = [self.at(schema) for schema in touched]
        places += {self.at(schema, account) for schema, accounts in touched.items() for account in accounts}
        begun = self._begun
        for place in places:
            begun[place] += 1
        return {place: begun[place] for place in places}

    def end(self, changes: Mapping[int, int]) -> None:
        """They are committed, for certain."""
        for place, change in changes.items():
            self._ended[place] = max(self._ended[place], change)

    def seen(self, places: Iterable[int]) -> tuple[int, ...] | None:
        """Equal later if nothing has changed there; `None` if something is changing, or nobody may remember."""
        if self._head[_UNTIL] <= time.monotonic_ns():
            return None
        begun, ended, counts = self._begun, self._ended, [self._head[_EPOCH]]
        for place in places:
            # Read in this order: a change that begins in between is seen.
            last = ended[place]
            if begun[place] != last:
                return None
            counts.append(last)
        return tuple(counts)

    def count(self, account_id: UUID) -> int:
        """Another one later if a token of this account has died since, at any worker of this server."""
        return self._begun[self.at(SESSIONS, account_id)]

    def died(self, account_id: UUID) -> None:
        """A token of this account. Two at once may count as one, which is as good."""
        self._begun[self.at(SESSIONS, account_id)] += 1

    def tenancy(self, epoch: int, until_ns: int) -> None:
        """Until then only this server changes the tables. What was seen in another tenancy counts no more."""
        self._head[_EPOCH] = epoch
        self._head[_UNTIL] = until_ns

    @property
    def left_seconds(self) -> float:
        """Until the tenancy ends."""
        return max(0.0, (self._head[_UNTIL] - time.monotonic_ns()) / 1e9)


def own_changes(schemas: Sequence[str]) -> Changes:
    """Of a server that is one process."""
    memory = mmap.mmap(-1, _size(schemas))
    memory[:_TAG_BYTES] = _new_tag()
    return Changes(memory, schemas)


def make_changes_file(folder: Path, schemas: Sequence[str]) -> Path:
    """For the workers of the server that is this process, before any of them starts."""
    path = folder / f"changes-{os.getpid()}"
    path.write_bytes(_new_tag().ljust(_size(schemas), b"\0"))
    return path


def shared_changes(path: Path, schemas: Sequence[str]) -> Changes:
    with path.open("r+b") as file:
        return Changes(mmap.mmap(file.fileno(), 0), schemas)


def _size(schemas: Sequence[str]) -> int:
    return _HEAD_BYTES + 2 * 8 * (len(schemas) + 1) * (SLOTS + 1)


def _new_tag() -> bytes:
    return uuid4().hex[:_TAG_BYTES].encode()
