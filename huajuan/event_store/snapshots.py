"""Keeps snapshots of streams, written in the background, so that loading them stays short."""

import asyncio
from collections import OrderedDict
from uuid import UUID

import psycopg
import structlog
from eventsourcing.persistence import StoredEvent
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from huajuan.domain.aggregate import Entity
from huajuan.event_store.errors import PersonErased
from huajuan.event_store.limits import LogLimits
from huajuan.event_store.loader import stamp_of
from huajuan.event_store.mapper import EventMapper

# Its last event must be in the log, known by its moment: a fail-over may have lost it, or put another in its place.
_STORE = """
WITH older AS (
    DELETE FROM log.huajuan_snapshots s WHERE s.originator_id = %(id)s
       AND (s.originator_version < %(version)s
            OR NOT EXISTS (SELECT FROM log.huajuan_events e
                            WHERE e.originator_id = %(id)s AND e.originator_version = s.originator_version)))
INSERT INTO log.huajuan_snapshots (originator_id, originator_version, topic, state)
SELECT %(id)s, %(version)s, %(topic)s, %(state)s
 WHERE EXISTS (SELECT FROM log.huajuan_events e WHERE e.originator_id = %(id)s AND e.originator_version = %(version)s
                  AND position(%(stamp)s::bytea IN e.state) > 0)
    ON CONFLICT (originator_id, originator_version) DO UPDATE SET topic = EXCLUDED.topic, state = EXCLUDED.state
"""
_logger = structlog.get_logger(__name__)


class Snapshots:
    """Losing one costs only time, so the queue is bounded and drops the oldest."""

    def __init__(self, pool: AsyncConnectionPool, mapper: EventMapper, limits: LogLimits) -> None:
        self._pool = pool
        self._mapper = mapper
        self._limits = limits
        self._waiting: OrderedDict[UUID, tuple[StoredEvent, bytes]] = OrderedDict()
        self._wake = asyncio.Event()

    def appended(self, aggregate: Entity, events: int) -> None:
        """Keep one when these events crossed a multiple of the interval. Call only after a commit."""
        every = self._limits.snapshot_every_events
        if aggregate.version // every > (aggregate.version - events) // every:
            self._keep(aggregate)

    def read(self, aggregate: Entity, events: int) -> None:
        """Keep one when so many had to be read that nobody should have to read them again."""
        if events >= self._limits.snapshot_after_events_read:
            self._keep(aggregate)

    def _keep(self, aggregate: Entity) -> None:
        if not hasattr(aggregate.Snapshot, "TOPIC"):
            return
        try:
            row = self._mapper.to_stored_event(aggregate.Snapshot.take(aggregate))
        except PersonErased:
            return
        except Exception as error:  # noqa: BLE001  its events are committed; often its key is not at hand
            _logger.warning("snapshot not kept", error=type(error).__name__)
            return
        self._waiting[aggregate.id] = row, stamp_of(aggregate)
        self._waiting.move_to_end(aggregate.id)
        while len(self._waiting) > self._limits.snapshots_waiting_max:
            self._waiting.popitem(last=False)
        self._wake.set()

    async def run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self.write_waiting()

    async def write_waiting(self) -> None:
        while self._waiting:
            _, waiting = self._waiting.popitem(last=False)
            try:
                await self._write(*waiting)
            except (psycopg.Error, PoolTimeout) as error:
                _logger.warning("snapshot not kept", error=type(error).__name__)

    def forget_waiting(self) -> None:
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
