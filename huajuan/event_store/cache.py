"""The aggregates that this process caches: least recently used evicted first, one lock each."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable
from uuid import UUID
from weakref import WeakValueDictionary

from huajuan.domain.aggregate import AggregateRoot
from huajuan.event_store.errors import DatabaseBusy


class AggregateCache:
    """Use a cached aggregate only while its lock is held: it may have events that are not appended yet."""

    def __init__(self, cached_max: int, lock_seconds_max: float) -> None:
        self.lock_seconds_max = lock_seconds_max
        self.locks: WeakValueDictionary[UUID, asyncio.Lock] = WeakValueDictionary()
        self._cached_max = cached_max
        self._aggregates: OrderedDict[UUID, AggregateRoot] = OrderedDict()

    def exclusive(self, ids: Iterable[UUID]) -> "_Exclusive":
        """Holds the locks of these aggregates. They are acquired in sorted order, which excludes deadlocks.

        On any exception, also a cancellation, the aggregates are dropped, because they may have events that
        were never appended. Raises `DatabaseBusy` where a lock is not acquired in time.
        """
        return _Exclusive(self, sorted(set(ids)))

    def get(self, ids: Iterable[UUID]) -> dict[UUID, AggregateRoot]:
        found = {i: self._aggregates[i] for i in ids if i in self._aggregates}
        for i in found:
            self._aggregates.move_to_end(i)
        return found

    def put(self, aggregates: Iterable[AggregateRoot]) -> None:
        for aggregate in aggregates:
            self._aggregates[aggregate.id] = aggregate
            self._aggregates.move_to_end(aggregate.id)
        while len(self._aggregates) > self._cached_max:
            self._aggregates.popitem(last=False)

    def drop(self, ids: Iterable[UUID]) -> None:
        for i in ids:
            self._aggregates.pop(i, None)

    def drop_matching(self, matches: Callable[[AggregateRoot], bool]) -> None:
        self.drop([i for i, aggregate in self._aggregates.items() if matches(aggregate)])


class _Exclusive:
    """The context manager of `AggregateCache.exclusive`. A class costs less than a generator here."""

    __slots__ = ("_cache", "_held", "_ids")

    def __init__(self, cache: AggregateCache, ids: list[UUID]) -> None:
        self._cache = cache
        self._ids = ids
        self._held: list[asyncio.Lock] = []

    async def __aenter__(self) -> None:
        try:
            if any(i in self._cache.locks for i in self._ids):
                async with asyncio.timeout(self._cache.lock_seconds_max):
                    await self._acquire()
            else:  # no lock is in use, and a timeout would cost time
                await self._acquire()
        except BaseException as error:
            self._release()
            if isinstance(error, TimeoutError):
                raise DatabaseBusy from None
            raise

    async def _acquire(self) -> None:
        for i in self._ids:
            lock = self._cache.locks.setdefault(i, asyncio.Lock())
            await lock.acquire()
            self._held.append(lock)

    async def __aexit__(self, kind: type[BaseException] | None, error: object, at: object) -> None:
        if kind is not None:
            self._cache.drop(self._ids)
        self._release()

    def _release(self) -> None:
        while self._held:
            self._held.pop().release()
