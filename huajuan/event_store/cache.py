"""The aggregates at hand in this process, least recently used dropped first, with one lock each."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from uuid import UUID
from weakref import WeakValueDictionary

from huajuan.domain.facts import Entity
from huajuan.event_store.errors import LogBusy


class AggregateCache:
    """A cached aggregate may be touched only while its lock is held: it can carry facts not yet appended."""

    def __init__(self, cached_max: int, lock_seconds_max: float) -> None:
        self._cached_max = cached_max
        self._lock_seconds_max = lock_seconds_max
        self._aggregates: OrderedDict[UUID, Entity] = OrderedDict()
        self._locks: WeakValueDictionary[UUID, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def alone(self, ids: Iterable[UUID]) -> AsyncIterator[None]:
        """Hold these aggregates' locks, taken in sorted order so that no two holders wait for each other.

        On any exception, cancellation too, the aggregates are dropped: nobody may decide on a state
        that never was.
        """
        ids = sorted(set(ids))
        async with AsyncExitStack() as stack:
            await self._lock(ids, stack)
            try:
                yield
            except BaseException:
                self.drop(ids)
                raise

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

    async def _lock(self, ids: Iterable[UUID], stack: AsyncExitStack) -> None:
        try:
            async with asyncio.timeout(self._lock_seconds_max):
                for i in ids:
                    await stack.enter_async_context(self._locks.setdefault(i, asyncio.Lock()))
        except TimeoutError:
            raise LogBusy from None
