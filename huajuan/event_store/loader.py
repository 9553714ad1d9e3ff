"""Loads aggregates: the newest snapshot, then the events after it; writes snapshots in the background."""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from uuid import UUID

import msgspec
import psycopg
import structlog
from eventsourcing.domain import OriginatorVersionError
from eventsourcing.persistence import StoredEvent
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from huajuan.domain.aggregate import AggregateRoot
from huajuan.event_store.errors import PersonErased, StreamBroken
from huajuan.event_store.mapper import EventMapper
from huajuan.event_store.personal_keys import KeyRing
from huajuan.event_store.writer import EventStoreLimits
from huajuan.postgres.statements import QueryBatcher
from huajuan.runtime.periodic import periodic

E = TypeVar("E", bound=AggregateRoot)

# LATERAL keeps both queries on the primary key, whatever the statistics of the table are.
_SNAPSHOTS = b"""
SELECT s.originator_id, s.originator_version, s.topic, s.state
  FROM unnest(%b::uuid[], %b::text[]) AS wanted(stream, topic)
 CROSS JOIN LATERAL (
       SELECT * FROM log.huajuan_snapshots k
        WHERE k.originator_id = wanted.stream AND k.topic = wanted.topic
        ORDER BY k.originator_version DESC LIMIT 1) s
"""
# A row without a topic marks a stream that lacks the last known event, because a failover lost it.
_EVENTS = b"""
SELECT known.stream, e.originator_version, e.topic, e.state
  FROM unnest(%b::uuid[], %b::bigint[], %b::bytea[]) AS known(stream, version, event_time)
 CROSS JOIN LATERAL (
       (SELECT k.originator_version, k.topic, k.state FROM log.huajuan_events k
         WHERE k.originator_id = known.stream AND k.originator_version > known.version
         ORDER BY k.originator_version LIMIT %b)
        UNION ALL
       SELECT known.version, NULL, NULL
        WHERE known.version > 0
          AND (SELECT true FROM log.huajuan_events k
                WHERE k.originator_id = known.stream AND k.originator_version = known.version
                  AND position(known.event_time IN k.state) > 0) IS NULL) e
"""
# The last event must be in the log with the same time: a failover may have lost it, or another one took its
# version.
_STORE_SNAPSHOT = """
WITH older AS (
    DELETE FROM log.huajuan_snapshots s WHERE s.originator_id = %(originator_id)s
       AND (s.originator_version < %(originator_version)s
            OR NOT EXISTS (SELECT FROM log.huajuan_events e WHERE e.originator_id = %(originator_id)s
                              AND e.originator_version = s.originator_version)))
INSERT INTO log.huajuan_snapshots (originator_id, originator_version, topic, state)
SELECT %(originator_id)s, %(originator_version)s, %(topic)s, %(state)s
 WHERE EXISTS (SELECT FROM log.huajuan_events e
                WHERE e.originator_id = %(originator_id)s AND e.originator_version = %(originator_version)s
                  AND position(%(event_time)s::bytea IN e.state) > 0)
    ON CONFLICT (originator_id, originator_version)
    DO UPDATE SET topic = EXCLUDED.topic, state = EXCLUDED.state
"""
_encode = msgspec.json.Encoder().encode
_logger = structlog.get_logger(__name__)


def _event_time(aggregate: AggregateRoot) -> bytes:
    """The time of the last event as stored. Two events of one version never have the same time."""
    return _encode(aggregate.modified_on)


@dataclass(frozen=True)
class Stream(Generic[E]):
    """The class and the id of an aggregate."""

    kind: type[E]
    id: UUID


class Loader:
    """Loads aggregates up to the newest events of the log, with `page_events_max` rows a query."""

    def __init__(self, reads: QueryBatcher, mapper: EventMapper, keys: KeyRing, page_events_max: int) -> None:
        self._reads = reads
        self._mapper = mapper
        self._keys = keys
        self._page_events_max = page_events_max

    async def update(
        self, streams: Iterable[Stream[Any]], known: dict[UUID, AggregateRoot]
    ) -> dict[UUID, int]:
        """Adds to `known`, or updates in it, each stream that has events. Returns the events of each."""
        wanted = {stream.id: stream for stream in streams}
        cold = [stream for stream in wanted.values() if stream.id not in known]
        await self._start_from_snapshots(cold, known)
        return await self._add_events(list(wanted), known)

    async def _start_from_snapshots(self, cold: list[Stream[Any]], known: dict[UUID, AggregateRoot]) -> None:
        topics = {s.id: t for s in cold if (t := getattr(s.kind.Snapshot, "TOPIC", None))}
        if topics:
            rows = await self._reads.run(_SNAPSHOTS, (list(topics), list(topics.values())))
            for snapshot in await self._decode(rows):
                if snapshot.state is not None:  # the snapshot of an erased person cannot be decrypted
                    known[snapshot.originator_id] = snapshot.mutate(None)

    async def _add_events(self, ids: list[UUID], known: dict[UUID, AggregateRoot]) -> dict[UUID, int]:
        added, trusted = dict.fromkeys(ids, 0), set[UUID]()
        while True:
            versions = [known[i].version if i in known else 0 for i in ids]
            times = [_event_time(known[i]) if i in known and i not in trusted else b"" for i in ids]
            rows = await self._reads.run(_EVENTS, (ids, versions, times, self._page_events_max))
            lost = {stream for stream, _, topic, _ in rows if topic is None}
            if lost:
                _logger.warning("cached states ahead of the log are dropped", streams=len(lost))
                for stream in lost:
                    known.pop(stream, None)
            trusted |= lost
            page = await self._decode(row for row in rows if row[0] not in lost)
            for event in page:
                known[event.originator_id] = _apply(known.get(event.originator_id), event)
                added[event.originator_id] += 1
            if len(page) < self._page_events_max and not lost:
                return added

    async def _decode(self, found: Iterable[tuple[Any, ...]]) -> list[Any]:
        rows = [StoredEvent(*row) for row in found]
        await self._keys.load(self._mapper.subjects(rows))
        return [self._mapper.to_domain_event(row) for row in rows]


def _apply(aggregate: AggregateRoot | None, event: Any) -> Any:
    """Raises `StreamBroken` where events are missing."""
    try:
        if aggregate is None and event.originator_version > AggregateRoot.INITIAL_VERSION:
            raise OriginatorVersionError(event.originator_version, AggregateRoot.INITIAL_VERSION)
        return event.mutate(aggregate)
    except OriginatorVersionError as error:
        found, expected = error.args
        stream = str(event.originator_id)
        _logger.error(
            "stream has a gap", stream=stream, version=found, expected=expected, find_with="huajuan verify"
        )
        raise StreamBroken(stream) from error


class Snapshots:
    """The queue is bounded and drops the oldest snapshot: a lost one only costs loading time."""

    def __init__(self, pool: AsyncConnectionPool, mapper: EventMapper, limits: EventStoreLimits) -> None:
        self._pool = pool
        self._mapper = mapper
        self._limits = limits
        self._waiting: OrderedDict[UUID, tuple[StoredEvent, bytes]] = OrderedDict()
        self._wake = asyncio.Event()

    def after_append(self, aggregate: AggregateRoot, events: int) -> None:
        """Takes a snapshot where these events crossed a multiple of the interval. Call it after a commit."""
        every = self._limits.snapshot_every_events
        if aggregate.version // every > (aggregate.version - events) // every:
            self._enqueue(aggregate)

    def after_load(self, aggregate: AggregateRoot, events: int) -> None:
        """Takes a snapshot where a load had to read many events."""
        if events >= self._limits.snapshot_after_events_read:
            self._enqueue(aggregate)

    def _enqueue(self, aggregate: AggregateRoot) -> None:
        if not hasattr(aggregate.Snapshot, "TOPIC"):
            return
        try:
            row = self._mapper.to_stored_event(aggregate.Snapshot.take(aggregate))
        except PersonErased:
            return
        except Exception as error:  # noqa: BLE001  the events are committed; often the key is not cached
            _logger.warning("snapshot not stored", error=type(error).__name__)
            return
        self._waiting[aggregate.id] = row, _event_time(aggregate)
        self._waiting.move_to_end(aggregate.id)
        while len(self._waiting) > self._limits.snapshots_waiting_max:
            self._waiting.popitem(last=False)
        self._wake.set()

    async def run(self) -> None:
        await periodic("snapshots", self.write_waiting, 0, trigger=self._wake)

    async def write_waiting(self) -> None:
        while self._waiting:
            _, (row, event_time) = self._waiting.popitem(last=False)
            try:
                async with self._pool.connection() as connection:
                    await connection.execute(_STORE_SNAPSHOT, {**vars(row), "event_time": event_time})
            except (psycopg.Error, PoolTimeout) as error:
                _logger.warning("snapshot not stored", error=type(error).__name__)

    def clear(self) -> None:
        self._waiting.clear()
