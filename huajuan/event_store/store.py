"""The event store: decide on aggregates and append what they state, or read them as they stand."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple, TypeVar, overload
from uuid import UUID

from psycopg_pool import AsyncConnectionPool

from huajuan.domain.aggregate import Entity, Occasion, on_occasion
from huajuan.domain.refusals import Refused
from huajuan.event_store.after_commit import after_commit
from huajuan.event_store.cache import AggregateCache
from huajuan.event_store.command_dedup import EarlierRuns
from huajuan.event_store.errors import Conflict
from huajuan.event_store.fact_clock import FactClock
from huajuan.event_store.installation import stream_ids
from huajuan.event_store.limits import LogLimits
from huajuan.event_store.loader import Loader, Stream
from huajuan.event_store.log_head import LogHead
from huajuan.event_store.mapper import EventMapper
from huajuan.event_store.personal_keys import KeyRing
from huajuan.event_store.request_context import Command, caller
from huajuan.event_store.snapshots import Snapshots
from huajuan.event_store.stream_ids import StreamIds
from huajuan.event_store.write_health import WriteHealth
from huajuan.event_store.writer import Writer
from huajuan.postgres.query_batching import SharedReads
from huajuan.postgres.retry import through_outages
from huajuan.postgres.timelines import Timelines
from huajuan.runtime.cancel_tasks import end

A = TypeVar("A", bound=Entity)
B = TypeVar("B", bound=Entity)
C = TypeVar("C", bound=Entity)
Saved = Iterable[Entity]
Streams = Sequence[Stream[Any]]


class Decided(NamedTuple):
    """What a change came to: the aggregates saved, and the log's position after their last event."""

    aggregates: tuple[Any, ...]
    position: int


class EventStore:
    """One a process, on a log whose schema is made. `clock` tells the moment that new facts carry,
    which `facts` keeps from falling behind what is on record.

    Each of `on_appended` is called with the log's position after every batch this process appends.
    """

    def __init__(
        self,
        dsn: str,
        pool: AsyncConnectionPool,
        clock: Callable[[], datetime],
        limits: LogLimits,
        timelines: Timelines | None = None,
    ) -> None:
        self.clock = clock
        self.facts = FactClock(limits.clock_behind_seconds_max, lambda: self.clock())
        self.stream_ids: StreamIds
        self.on_appended: list[Callable[[int], None]] = []
        self.keys = KeyRing(pool, limits.keys_cached_max, limits.reconnect_seconds_max)
        self.mapper = EventMapper(keys=self.keys)
        self.reads = SharedReads(pool)
        self.earlier = EarlierRuns(pool, limits.reconnect_seconds_max)
        self._limits = limits
        self._pool = pool
        self._timelines = timelines or Timelines()
        self._timelines.on_change.append(self.forget_all)
        self.write_health = WriteHealth()
        self.head = LogHead(self.reads, self.facts)
        self._writer = Writer(dsn, limits, self._tell_appended, self.write_health, self._timelines)
        self._cache = AggregateCache(limits.aggregates_cached_max, limits.lock_seconds_max)
        self._loader = Loader(self.reads, self.mapper, self.keys, limits.page_events_max)
        self._snapshots = Snapshots(pool, self.mapper, limits)
        self._background: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        async with self._pool.connection() as connection:
            self.stream_ids = await stream_ids(connection)
        await self._writer.open()
        await through_outages(self.head.learn, self._limits.reconnect_seconds_max)
        work = {"snapshots": self._snapshots.run(), "log head": self.head.run()}
        self._background = [asyncio.create_task(task, name=name) for name, task in work.items()]

    async def close(self) -> None:
        await self._writer.close()
        await end(self._background)

    def writer_backend(self) -> int:
        """The process number of the writer's Postgres backend, by which its own notifications are known."""
        return self._writer.backend

    async def find(self, kind: type[A], stream: UUID) -> A | None:
        """The aggregate with every event the log had when asked. Read it at once; never change it."""
        async with self._cache.alone([stream]):
            known: dict[UUID, Any] = self._cache.known([stream])
            await self._bring_up_to_date([Stream(kind, stream)], known)
            return known.get(stream)

    @overload
    async def change(self, decide: Callable[[A | None], Saved], a: Stream[A], /) -> Decided: ...
    @overload
    async def change(
        self, decide: Callable[[A | None, B | None], Saved], a: Stream[A], b: Stream[B], /
    ) -> Decided: ...
    @overload
    async def change(
        self,
        decide: Callable[[A | None, B | None, C | None], Saved],
        a: Stream[A],
        b: Stream[B],
        c: Stream[C],
        /,
    ) -> Decided: ...
    @overload
    async def change(
        self, decide: Callable[[A | None, B | None], Saved], a: Stream[A], /, *, beside: Stream[B]
    ) -> Decided: ...
    @overload
    async def change(self, decide: Callable[..., Saved], /, *streams: Stream[Any]) -> Decided: ...
    async def change(
        self, decide: Callable[..., Saved], /, *streams: Stream[Any], beside: Stream[Any] | None = None
    ) -> Decided:
        """Let `decide` state facts on these aggregates and append all of them, or none.

        `decide` gets each stream's aggregate, or `None` where there is none yet, and returns those to
        save. It is asked again when another process was faster. Raises what it raises, and `LogError`.

        It is not asked when an earlier run of the same command has made this change: see `made_before`.

        An aggregate `beside` these comes last, read with them as it stands. Nothing is stated on it, and it is
        not kept from others: all who like a picture at once would wait for each other's appends.
        """
        async with self._cache.alone([stream.id for stream in streams]):
            decided = await self._change(decide, streams, [beside] if beside else [])
        if command := caller().command:
            command.changed()
        return decided

    async def made_before(self, *streams: Stream[Any]) -> Decided | None:
        """What the next change came to in an earlier run of the same command, if it was made then.

        Of `streams` those that it touched, as they stand now. Commands that look before they decide ask this
        first. Costs nothing where there is no command.
        """
        command = caller().command
        if command is None:
            return None
        async with self._cache.alone(ids := [stream.id for stream in streams]):
            known = self._cache.known(ids)
            await self._bring_up_to_date(streams, known)
            made = await self._made_before(command, streams, known)
        if made:
            command.changed()
        return made

    def forget(self, person: UUID) -> None:
        """An erased person's key and all that was read with it leave the memory of this process."""
        self.keys.erase(person)
        self._cache.drop_those(lambda kept: person in (kept.id, getattr(kept, "account_id", None)))

    def forget_all(self) -> None:
        """Whose key is gone, or which facts the database has lost, is not known just now: nothing is remembered."""
        self.keys.forget_all()
        self._snapshots.forget_waiting()
        self._cache.drop_those(lambda _: True)

    def _tell_appended(self, position: int) -> None:
        for listener in self.on_appended:
            with after_commit("listener of appends"):
                listener(position)

    async def _change(self, decide: Callable[..., Saved], streams: Streams, beside: Streams) -> Decided:
        give_up_at = asyncio.get_running_loop().time() + self._limits.conflict_seconds_max
        while True:
            try:
                return await self._decide_and_append(decide, streams, beside)
            except Conflict:
                # A process that has the newest facts at hand may win many times in a row over one
                # that must read them, so what is bounded is the time and not the tries.
                self._cache.drop(stream.id for stream in streams)
                if asyncio.get_running_loop().time() > give_up_at:
                    raise

    async def _decide_and_append(
        self, decide: Callable[..., Saved], streams: Streams, beside: Streams
    ) -> Decided:
        ids, generation = [stream.id for stream in streams], self._timelines.generation
        known = self._cache.known(ids)
        if caller().command is None and not beside and len(known) == len(ids):
            # A cached state may accept at once: the log's primary key checks it.
            hasty = self._decide_on_cached(decide, ids, known)
            if hasty:
                return await self._append(hasty, generation)
        decided = await self._decide_on_newest(decide, streams, beside)
        return decided if isinstance(decided, Decided) else await self._append(decided, generation)

    async def _decide_on_newest(
        self, decide: Callable[..., Saved], streams: Streams, beside: Streams
    ) -> list[Entity] | Decided:
        """What is to be saved, or what an earlier run of the command came to."""
        asked, command = [*streams, *beside], caller().command
        ids = [stream.id for stream in asked]
        async with self._cache.alone([stream.id for stream in beside]):
            known = self._cache.known(ids)
            await self._bring_up_to_date(asked, known)
            # Looked for after the state is read: whatever comes later is refused by the primary key.
            made = await self._made_before(command, streams, known) if command else None
            return made or self._decide(decide, ids, known)

    async def _made_before(
        self, command: Command, streams: Streams, known: dict[UUID, Entity]
    ) -> Decided | None:
        ids = [stream.id for stream in streams]
        positions = await self.earlier.marked(command, ids)
        if not positions:
            return None
        await self._bring_up_to_date(streams, known)
        return Decided(tuple(known[i] for i in ids if i in positions), max(positions.values()))

    def _decide_on_cached(
        self, decide: Callable[..., Saved], ids: list[UUID], known: dict[UUID, Entity]
    ) -> list[Entity]:
        """What was saved; empty if refused, or if any of the aggregates says nothing.

        The log's primary key checks only those that state a fact, so what leads to a refusal or to
        silence may only be decided on the newest state.
        """
        try:
            saved = self._decide(decide, ids, known)
        except Refused:
            saved = []
        if not saved or not all(aggregate.pending_events for aggregate in known.values()):
            self._cache.drop(i for i, aggregate in known.items() if aggregate.pending_events)
            return []
        return saved

    def _decide(
        self, decide: Callable[..., Saved], ids: list[UUID], known: dict[UUID, Entity]
    ) -> list[Entity]:
        with on_occasion(Occasion(self.facts.stamp(), caller().actor, caller().signature)):
            return list(decide(*(known.get(i) for i in ids)))

    async def _append(self, saved: list[Entity], generation: int) -> Decided:
        events = [event for aggregate in saved for event in aggregate.pending_events]
        if not events:
            return Decided(tuple(saved), 0)
        await self.keys.need(self.mapper.subjects_of_events(events))
        rows = [self.mapper.to_stored_event(event) for event in events]
        positions = await self._writer.append(rows, generation)
        counts = [len(aggregate.collect_events()) for aggregate in saved]
        with after_commit("cache and snapshots"):
            if (
                generation == self._timelines.generation
            ):  # else the next decision reads what the new server has
                self._cache.keep(saved)
            self.facts.know(aggregate.modified_on for aggregate in saved)
            for aggregate, count in zip(saved, counts, strict=True):
                self._snapshots.appended(aggregate, count)
        return Decided(tuple(saved), positions[-1])

    async def _bring_up_to_date(self, streams: Streams, known: dict[UUID, Entity]) -> None:
        """What was known or read of a server that another has replaced is read anew."""
        generation = self._timelines.generation

        async def read() -> dict[UUID, int]:
            nonlocal generation
            while True:
                if generation != self._timelines.generation:
                    known.clear()
                    generation = self._timelines.generation
                added = await self._loader.bring_up_to_date(streams, known)
                if generation == self._timelines.generation:
                    return added

        added = await through_outages(read, self._limits.reconnect_seconds_max)
        self._cache.keep(known.values())
        self.facts.know(aggregate.modified_on for aggregate in known.values())
        for i in added.keys() & known.keys():
            self._snapshots.read(known[i], added[i])
