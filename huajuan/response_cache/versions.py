"""Version counters of the read tables' rows, in memory that all workers of a server share."""

import mmap
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID, uuid4

# Accounts share a counter when their ids are equal modulo this; then a change of one invalidates both.
ACCOUNT_SLOTS = 4096
# Further counters: revoked tokens by account.
SESSIONS = "sessions"
_HOLDER_BYTES = 16
_HEAD_BYTES = 64
# In the head, as 8-byte numbers: the epoch of the lease, and the monotonic nanosecond at which it expires.
_EPOCH, _EXPIRES = 2, 3


class CacheVersions:
    """Each slot has two counters: changes begun before their commit, and the last change known to be
    committed.

    While they differ the rows are being changed. Changes begin one at a time, because a fold holds the
    checkpoint of its table. They may end in any order: only the end of the newest makes the counters equal.
    A process that dies in between, or does not know whether it committed, leaves them unequal.

    `holder` identifies the server, in the cache lease and among the connections of the database.
    """

    def __init__(self, memory: mmap.mmap, schemas: Sequence[str]) -> None:
        self.holder = memory[:_HOLDER_BYTES].decode().rstrip("\0")
        names = (*schemas, SESSIONS)
        self._first_slots = {name: n * (ACCOUNT_SLOTS + 1) for n, name in enumerate(names)}
        counters = memoryview(memory).cast("Q")
        head, slots = _HEAD_BYTES // 8, len(names) * (ACCOUNT_SLOTS + 1)
        self._head = counters[:head]
        self._begun = counters[head : head + slots]
        self._ended = counters[head + slots : head + 2 * slots]

    def slot(self, schema: str, account_id: UUID | None = None) -> int:
        """The slot of an account's rows in a table, or of the whole table."""
        first = self._first_slots[schema]
        return first if account_id is None else first + 1 + account_id.int % ACCOUNT_SLOTS

    @contextmanager
    def changing(self, accounts: Mapping[str, Iterable[UUID]]) -> Iterator[None]:
        """Around the commit of rows of these accounts. After an error the change stays in progress."""
        change = self.begin_change(accounts)
        yield
        self.end_change(change)

    def begin_change(self, accounts: Mapping[str, Iterable[UUID]]) -> dict[int, int]:
        """Before the commit. Returns the argument of `end_change`."""
        slots = [self.slot(schema) for schema in accounts]
        slots += {self.slot(schema, account) for schema, ids in accounts.items() for account in ids}
        begun = self._begun
        for slot in slots:
            begun[slot] += 1
        return {slot: begun[slot] for slot in slots}

    def end_change(self, change: Mapping[int, int]) -> None:
        """After the commit, when it is known to have succeeded."""
        for slot, version in change.items():
            self._ended[slot] = max(self._ended[slot], version)

    def current(self, slots: Iterable[int]) -> tuple[int, ...] | None:
        """The epoch and the versions of these slots; `None` without a lease or during a change."""
        if self._head[_EXPIRES] <= time.monotonic_ns():
            return None
        begun, ended, versions = self._begun, self._ended, [self._head[_EPOCH]]
        for slot in slots:
            # This order of the two reads sees a change that begins in between.
            last = ended[slot]
            if begun[slot] != last:
                return None
            versions.append(last)
        return tuple(versions)

    def revocations(self, account_id: UUID) -> int:
        """A number that changes when any worker of this server revokes a token of the account."""
        return self._begun[self.slot(SESSIONS, account_id)]

    def add_revocation(self, account_id: UUID) -> None:
        """Two at the same time may be counted as one: the number has changed all the same."""
        self._begun[self.slot(SESSIONS, account_id)] += 1

    def set_lease(self, epoch: int, expires_ns: int) -> None:
        """The lease was acquired or renewed; `expires_ns` is a value of the monotonic clock."""
        self._head[_EPOCH] = epoch
        self._head[_EXPIRES] = expires_ns

    @property
    def lease_seconds_left(self) -> float:
        return max(0.0, (self._head[_EXPIRES] - time.monotonic_ns()) / 1e9)


def private_versions(schemas: Sequence[str]) -> CacheVersions:
    """For a server that is one process."""
    memory = mmap.mmap(-1, _size(schemas))
    memory[:_HOLDER_BYTES] = _new_holder()
    return CacheVersions(memory, schemas)


def create_versions_file(folder: Path, schemas: Sequence[str]) -> Path:
    """The shared memory of a server's workers. The parent process calls it before it starts them."""
    path = folder / f"cache-versions-{os.getpid()}"
    path.write_bytes(_new_holder().ljust(_size(schemas), b"\0"))
    return path


def open_versions_file(path: Path, schemas: Sequence[str]) -> CacheVersions:
    with path.open("r+b") as file:
        return CacheVersions(mmap.mmap(file.fileno(), 0), schemas)


def _size(schemas: Sequence[str]) -> int:
    return _HEAD_BYTES + 2 * 8 * (len(schemas) + 1) * (ACCOUNT_SLOTS + 1)


def _new_holder() -> bytes:
    return uuid4().hex[:_HOLDER_BYTES].encode()
