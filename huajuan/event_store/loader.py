"""Loads aggregates: the newest snapshot, then the events after it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from uuid import UUID

import msgspec
import structlog
from eventsourcing.domain import OriginatorVersionError
from eventsourcing.persistence import StoredEvent

from huajuan.domain.aggregate import AggregateRoot
from huajuan.event_store.errors import StreamBroken
from huajuan.event_store.mapper import EventMapper
from huajuan.event_store.personal_keys import KeyRing
from huajuan.postgres.statements import QueryBatcher

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


_encode = msgspec.json.Encoder().encode
_logger = structlog.get_logger(__name__)


def timestamp_of(aggregate: AggregateRoot) -> bytes:
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
        """Adds to `known`, or updates in it, each stream that has events.

        Returns the number of events by stream.
        """
        wanted = {stream.id: stream for stream in streams}
        cold = [stream for stream in wanted.values() if stream.id not in known]
        await self._start_from_snapshots(cold, known)
        return await self._add_events(list(wanted), known)

    async def _start_from_snapshots(self, cold: list[Stream[Any]], known: dict[UUID, AggregateRoot]) -> None:
        topics = {s.id: t for s in cold if (t := getattr(s.kind.Snapshot, "TOPIC", None))}
        if topics:
            columns = (list(topics), list(topics.values()))
            for snapshot in await self._select(_SNAPSHOTS, columns):
                if snapshot.state is not None:  # the snapshot of an erased person cannot be decrypted
                    known[snapshot.originator_id] = snapshot.mutate(None)

    async def _add_events(self, ids: list[UUID], known: dict[UUID, AggregateRoot]) -> dict[UUID, int]:
        added, trusted = dict.fromkeys(ids, 0), set[UUID]()
        while True:
            versions = [known[i].version if i in known else 0 for i in ids]
            timestamps = [timestamp_of(known[i]) if i in known and i not in trusted else b"" for i in ids]
            rows = await self._reads.run(_EVENTS, (ids, versions, timestamps, self._page_events_max))
            lost = {stream for stream, _, topic, _ in rows if topic is None}
            if lost:
                _logger.warning("cached states ahead of the log are dropped", streams=len(lost))
                for stream in lost:
                    known.pop(stream, None)
            trusted |= lost
            page = await self._events(row for row in rows if row[0] not in lost)
            for event in page:
                known[event.originator_id] = _apply(known.get(event.originator_id), event)
                added[event.originator_id] += 1
            if len(page) < self._page_events_max and not lost:
                return added

    async def _select(self, query: bytes, columns: Sequence[Any]) -> list[Any]:
        return await self._events(await self._reads.run(query, columns))

    async def _events(self, found: Iterable[tuple[Any, ...]]) -> list[Any]:
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
