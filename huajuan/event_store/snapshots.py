"""Writes snapshots of aggregates in the background, which bound the number of events that a load reads."""

import asyncio
from collections import OrderedDict
from uuid import UUID

import psycopg
import structlog
from eventsourcing.persistence import StoredEvent
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from huajuan.domain.aggregate import AggregateRoot
from huajuan.event_store.errors import PersonErased
from huajuan.event_store.loader import timestamp_of
from huajuan.event_store.mapper import EventMapper
from huajuan.event_store.writer import EventStoreLimits
from huajuan.runtime.periodic import periodic

# The last event must be in the log with the same time: a failover may have lost it, or another one took its
# version.
_STORE = """
WITH older AS (
    DELETE FROM log.huajuan_snapshots s WHERE s.originator_id = %(id)s
       AND (s.originator_version < %(version)s
            OR NOT EXISTS (SELECT FROM log.huajuan_events e
                            WHERE e.originator_id = %(id)s AND e.originator_version = s.originator_version)))
INSERT INTO log.huajuan_snapshots (originator_id, originator_version, topic, state)
SELECT %(id)s, %(version)s, %(topic)s, %(state)s
 WHERE EXISTS (SELECT FROM log.huajuan_events e
                WHERE e.originator_id = %(id)s AND e.originator_version = %(version)s
                  AND position(%(stamp)s::bytea IN e.state) > 0)
    ON CONFLICT (originator_id, originator_version)
    DO UPDATE SET topic = EXCLUDED.topic, state = EXCLUDED.state
"""
_logger = structlog.get_logger(__name__)


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
        self._waiting[aggregate.id] = row, timestamp_of(aggregate)
        self._waiting.move_to_end(aggregate.id)
        while len(self._waiting) > self._limits.snapshots_waiting_max:
            self._waiting.popitem(last=False)
        self._wake.set()

    async def run(self) -> None:
        """Writes the waiting snapshots, until the task is cancelled."""
        await periodic("snapshots", self.write_waiting, 0, trigger=self._wake)

    async def write_waiting(self) -> None:
        while self._waiting:
            _, waiting = self._waiting.popitem(last=False)
            try:
                await self._write(*waiting)
            except (psycopg.Error, PoolTimeout) as error:
                _logger.warning("snapshot not stored", error=type(error).__name__)

    def clear(self) -> None:
        self._waiting.clear()

    async def _write(self, row: StoredEvent, stamp: bytes) -> None:
        values = {
            "id": row.originator_id,
            "version": row.originator_version,
            "topic": row.topic,
            "state": row.state,
            "stamp": stamp,
        }
        async with self._pool.connection() as connection:
            await connection.execute(_STORE, values)
