"""The event store: loads aggregates, and appends their new events with optimistic concurrency control."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import structlog
from psycopg_pool import AsyncConnectionPool

from huajuan.domain.account import Account
from huajuan.domain.aggregate import AggregateRoot, EventMetadata, with_event_metadata
from huajuan.domain.refusals import Refused
from huajuan.event_store.cache import AggregateCache
from huajuan.event_store.errors import Conflict
from huajuan.event_store.event_clock import EventClock
from huajuan.event_store.loader import Loader, Snapshots, Stream
from huajuan.event_store.log_reader import StreamReader
from huajuan.event_store.mapper import EventMapper
from huajuan.event_store.personal_keys import KeyRing
from huajuan.event_store.request_context import IdempotentCommand, current_context, find_change
from huajuan.event_store.stream_ids import StreamIds, load_stream_ids
from huajuan.event_store.writer import EventStoreLimits, WriteHealth, Writer
from huajuan.postgres.retry import retry_query
from huajuan.postgres.statements import QueryBatcher, Statements
from huajuan.postgres.timelines import Timelines
from huajuan.runtime.periodic import cancel_tasks, periodic

A = TypeVar("A", bound=AggregateRoot)
Saved = Iterable[AggregateRoot]
Streams = Sequence[Stream[Any]]
READ_HEAD_SECONDS_MIN = 0.1
ERASURES_CHANNEL = "huajuan_erasures"
_logger = structlog.get_logger(__name__)


class ChangeResult(NamedTuple):
    """The result of a change: the saved aggregates, and the log's position after their last event."""

    aggregates: tuple[Any, ...]
    position: int


@contextmanager
def after_commit(step: str) -> Iterator[None]:
    """Logs an exception of the block and suppresses it: a committed change must not be reported as failed."""
    try:
        yield
    except Exception as error:
        _logger.warning("failed after a commit", step=step, error=type(error).__name__, exc_info=error)


class EventStore:
    """One per process, on a log whose schema exists. `clock` provides the time of new events.

    `event_clock` keeps that time from being earlier than the newest event. Each function in `on_appended` is
    called with the log's position after each batch that this process appends.
    """

    def __init__(
        self,
        dsn: str,
        pool: AsyncConnectionPool,
        clock: Callable[[], datetime],
        limits: EventStoreLimits,
        timelines: Timelines | None = None,
    ) -> None:
        self.clock = clock
        self.event_clock = EventClock(limits.clock_behind_seconds_max, lambda: self.clock())
        self.stream_ids: StreamIds
        self.on_appended: list[Callable[[int], None]] = []
        self.reads = QueryBatcher(pool)
        self._statements = Statements(pool, limits.reconnect_seconds_max, self.reads)
        self.keys = KeyRing(self._statements, limits.keys_cached_max)
        self.mapper = EventMapper(keys=self.keys)
        self.streams = StreamReader(self._statements, self.mapper, self.keys)
        self.write_health = WriteHealth()
        self._limits = limits
        self._pool = pool
        self._timelines = timelines or Timelines()
        self._timelines.on_change.append(self.drop_all)
        self._writer = Writer(dsn, limits, self._notify_appended, self.write_health, self._timelines)
        self._cache = AggregateCache(limits.aggregates_cached_max, limits.lock_seconds_max)
        self._loader = Loader(self.reads, self.mapper, self.keys, limits.page_events_max)
        self._snapshots = Snapshots(pool, self.mapper, limits)
        self._head_moved = asyncio.Event()
        self._background: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        async with self._pool.connection() as connection:
            self.stream_ids = await load_stream_ids(connection)
        await self._writer.open()
        await retry_query(self._read_head, self._limits.reconnect_seconds_max)
        head = periodic("log head", self._read_head, READ_HEAD_SECONDS_MIN, trigger=self._head_moved)
        work = {"snapshots": self._snapshots.run(), "log head": head}
        self._background = [asyncio.create_task(task, name=name) for name, task in work.items()]

    async def close(self) -> None:
        await self._writer.close()
        await cancel_tasks(self._background)

    def head_moved(self) -> None:
        """Another process has appended: its event times are read soon, at most ten times a second."""
        self._head_moved.set()

    async def _read_head(self) -> None:
        await self.event_clock.read_head(self.reads)

    def writer_backend(self) -> int:
        """The process id of the writer's Postgres backend, which identifies its own notifications."""
        return self._writer.backend

    async def find(self, kind: type[A], stream: UUID) -> A | None:
        """The aggregate with all events of the log. Read it before the next `await`, and do not change it."""
        async with self._cache.exclusive([stream]):
            known: dict[UUID, Any] = self._cache.get([stream])
            await self._load([Stream(kind, stream)], known)
            return known.get(stream)

    async def change(
        self, decide: Callable[..., Saved], /, *streams: Stream[Any], read_only: Stream[Any] | None = None
    ) -> ChangeResult:
        """Calls `decide` and appends the new events of the aggregates that it returns, all or none of them.

        `decide` gets the aggregate of each stream, `None` for a stream without events. It is called again
        after a conflict with another process. It is not called where an earlier execution of the same
        idempotent command made this change: then the result is that of `previous_result`.

        The aggregate of `read_only` is the last argument of `decide`. It is loaded and not locked during the
        append, so that concurrent likes of one image do not wait for each other.

        Raises the errors of `decide`, and `DatabaseFailure`.
        """
        ids, decided = [stream.id for stream in streams], None
        async with self._cache.exclusive(ids):
            give_up_at = asyncio.get_running_loop().time() + self._limits.conflict_seconds_max
            while decided is None:
                try:
                    decided = await self._decide_and_append(decide, streams, [read_only] if read_only else [])
                except Conflict:
                    # A process with a warm cache may win many times in a row over one that must load, so
                    # the time is bounded and not the number of tries.
                    self._cache.drop(ids)
                    if asyncio.get_running_loop().time() > give_up_at:
                        raise
        if command := current_context().command:
            command.count_change()
        return decided

    async def previous_result(self, *streams: Stream[Any]) -> ChangeResult | None:
        """The result of the next change, if an earlier execution of the same idempotent command made it.

        It has those of `streams` that the change touched, in their current state. Commands that read other
        data before they decide call this first. Without an idempotent command it costs nothing.
        """
        command = current_context().command
        if command is None:
            return None
        async with self._cache.exclusive(ids := [stream.id for stream in streams]):
            known = self._cache.get(ids)
            await self._load(streams, known)
            made = await self._previous_result(command, streams, known)
        if made:
            command.count_change()
        return made

    def drop_account(self, account_id: UUID) -> None:
        """Removes the key of an erased account, and all aggregates that use it, from memory."""
        self.keys.erase(account_id)
        self._cache.drop_matching(lambda one: account_id in (one.id, getattr(one, "account_id", None)))

    def drop_all(self) -> None:
        """Removes all keys, aggregates and snapshots from memory, because some of them may be outdated."""
        self.keys.clear()
        self._snapshots.clear()
        self._cache.drop_matching(lambda _: True)

    def on_notification(self, account_id: str) -> None:
        """Another process has erased this account."""
        self.drop_account(UUID(account_id))

    def on_listening(self, is_listening: bool) -> None:
        """Erasures may have been missed while the channel was not connected."""
        self.drop_all()

    def _notify_appended(self, position: int) -> None:
        for listener in self.on_appended:
            with after_commit("listener of appends"):
                listener(position)

    async def _decide_and_append(
        self, decide: Callable[..., Saved], streams: Streams, read_only: Streams
    ) -> ChangeResult:
        ids, generation = [stream.id for stream in streams], self._timelines.generation
        command = current_context().command
        known = self._cache.get(ids)
        is_cached = command is None and not read_only and len(known) == len(ids)
        # Optimistic: the primary key of the log rejects a decision on an outdated state.
        if is_cached and (optimistic := self._decide_on_cached(decide, ids, known)):
            return await self._append(optimistic, generation)
        wanted = [*streams, *read_only]
        async with self._cache.exclusive([stream.id for stream in read_only]):
            known = self._cache.get(all_ids := [stream.id for stream in wanted])
            await self._load(wanted, known)
            # Searched after the load: the primary key rejects the append where the change is made later.
            if command and (made := await self._previous_result(command, streams, known)):
                return made
            decided = self._decide(decide, all_ids, known)
        return await self._append(decided, generation)

    async def _previous_result(
        self, command: IdempotentCommand, streams: Streams, known: dict[UUID, AggregateRoot]
    ) -> ChangeResult | None:
        ids = [stream.id for stream in streams]
        positions = await find_change(self._statements, command, ids)
        if not positions:
            return None
        await self._load(streams, known)
        return ChangeResult(tuple(known[i] for i in ids if i in positions), max(positions.values()))

    def _decide_on_cached(
        self, decide: Callable[..., Saved], ids: list[UUID], known: dict[UUID, AggregateRoot]
    ) -> list[AggregateRoot]:
        """The aggregates to save. Empty where `decide` refuses, or where an aggregate has no new event.

        These need the newest state: the primary key of the log checks only aggregates with new events.
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
        self, decide: Callable[..., Saved], ids: list[UUID], known: dict[UUID, AggregateRoot]
    ) -> list[AggregateRoot]:
        context, at = current_context(), self.event_clock.next_timestamp()
        with with_event_metadata(
            EventMetadata(at, context.actor, context.correlation_id, context.command_id)
        ):
            return list(decide(*(known.get(i) for i in ids)))

    async def _append(self, saved: list[AggregateRoot], generation: int) -> ChangeResult:
        events = [event for aggregate in saved for event in aggregate.pending_events]
        if not events:
            return ChangeResult(tuple(saved), 0)
        await self.keys.load(self.mapper.subjects_of_events(events))
        rows = [self.mapper.to_stored_event(event) for event in events]
        positions = await self._writer.append(rows, generation)
        counts = [len(aggregate.collect_events()) for aggregate in saved]
        with after_commit("cache and snapshots"):
            # After a failover the next decision loads the state that the new server has.
            if generation == self._timelines.generation:
                self._cache.put(saved)
            self.event_clock.observe(aggregate.modified_on for aggregate in saved)
            for aggregate, count in zip(saved, counts, strict=True):
                self._snapshots.after_append(aggregate, count)
        return ChangeResult(tuple(saved), positions[-1])

    async def _load(self, streams: Streams, known: dict[UUID, AggregateRoot]) -> None:
        """Loads again from the start where the database server was replaced meanwhile."""
        generation = self._timelines.generation

        async def read() -> dict[UUID, int]:
            nonlocal generation
            while True:
                if generation != self._timelines.generation:
                    known.clear()
                    generation = self._timelines.generation
                added = await self._loader.update(streams, known)
                if generation == self._timelines.generation:
                    return added

        added = await retry_query(read, self._limits.reconnect_seconds_max)
        self._cache.put(known.values())
        self.event_clock.observe(aggregate.modified_on for aggregate in known.values())
        for i in added.keys() & known.keys():
            self._snapshots.after_load(known[i], added[i])


@asynccontextmanager
async def open_event_store(
    dsn: str,
    pool: AsyncConnectionPool,
    clock: Callable[[], datetime],
    limits: EventStoreLimits | None = None,
    timelines: Timelines | None = None,
) -> AsyncIterator[EventStore]:
    """An event store on a log whose schema exists. At the end the waiting saves are appended."""
    store = EventStore(dsn, pool, clock, limits or EventStoreLimits(), timelines)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def account_registered_at(store: EventStore, position: int) -> Account | None:
    """The account whose registration is at this position, also an erased one."""
    stream = await store.streams.stream_at(position, Account.Registered.TOPIC)
    return await store.find(Account, stream) if stream else None
