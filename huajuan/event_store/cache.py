"""The aggregates at hand in this process, least recently used dropped first, with one lock each."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable
from uuid import UUID
from weakref import WeakValueDictionary

from huajuan.domain.aggregate import Entity
from huajuan.event_store.errors import LogBusy


class AggregateCache:
    """A cached aggregate may be touched only while its lock is held: it can carry facts not yet appended."""

    def __init__(self, cached_max: int, lock_seconds_max: float) -> None:
        self._cached_max = cached_max
        self._lock_seconds_max = lock_seconds_max
        self._aggregates: OrderedDict[UUID, Entity] = OrderedDict()
        self._locks: WeakValueDictionary[UUID, asyncio.Lock] = WeakValueDictionary()

    def alone(self, ids: Iterable[UUID]) -> "_Alone":
        """Hold these aggregates' locks, taken in sorted order so that no two holders wait for each other.

        On any exception, cancellation too, the aggregates are dropped: nobody may decide on a state
        that never was.
        """
        return _Alone(self, sorted(set(ids)))

    def known(self, ids: Iterable[UUID]) -> dict[UUID, Entity]:
        found = {i: self._aggregates[i] for i in ids if i in self._aggregates}
        for i in found:
            self._aggregates.move_to_end(i)
        return found

    def keep(self, aggregates: Iterable[Entity]) -> None:
        for aggregate in aggregates:
            self._aggregates[aggregate.id] = aggregate
            self._aggregates.move_to_end(aggregate.id)
        while len(self._aggregates) > self._cached_max:
            self._aggregates.popitem(last=False)

    def drop(self, ids: Iterable[UUID]) -> None:
        for i in ids:
            self._aggregates.pop(i, None)

    def drop_those(self, unwanted: Callable[[Entity], bool]) -> None:
        self.drop([i for i, aggregate in self._aggregates.items() if unwanted(aggregate)])

    async def lock(self, ids: Iterable[UUID], held: list[asyncio.Lock]) -> None:
        """Adds each lock to `held` as soon as it is taken."""
        if all(i not in self._locks for i in ids):  # then nobody has one or waits for one, and we never wait
            await self._take(ids, held)
            return
        try:
            async with asyncio.timeout(self._lock_seconds_max):
                await self._take(ids, held)
        except TimeoutError:
            raise LogBusy from None

    async def _take(self, ids: Iterable[UUID], held: list[asyncio.Lock]) -> None:
        for i in ids:
            lock = self._locks.setdefault(i, asyncio.Lock())
            await lock.acquire()
            held.append(lock)


class _Alone:
    """What `AggregateCache.alone` returns. Every command enters one, so it is made by hand to be cheap."""

    __slots__ = ("_cache", "_held", "_ids")

    def __init__(self, cache: AggregateCache, ids: list[UUID]) -> None:
        self._cache = cache
        self._ids = ids
        self._held: list[asyncio.Lock] = []

    async def __aenter__(self) -> None:
        try:
            await self._cache.lock(self._ids, self._held)
        except BaseException:
            self._release()
            raise

    async def __aexit__(self, kind: type[BaseException] | None, error: object, at: object) -> None:
        if kind is not None:
            self._cache.drop(self._ids)
        self._release()

    def _release(self) -> None:
        while self._held:
            self._held.pop().release()
