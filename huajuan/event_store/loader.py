"""Reads aggregates: the newest snapshot, then the events after it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from uuid import UUID

import msgspec
import structlog
from eventsourcing.domain import OriginatorVersionError
from eventsourcing.persistence import StoredEvent

from huajuan.domain.aggregate import Entity
from huajuan.event_store.errors import StreamBroken
from huajuan.event_store.mapper import EventMapper
from huajuan.event_store.personal_keys import KeyRing
from huajuan.postgres.query_batching import SharedReads

E = TypeVar("E", bound=Entity)

# LATERAL keeps both on the primary key whatever the planner believes of a table that was empty
# when the statement was first planned.
_SNAPSHOTS = b"""
SELECT s.originator_id, s.originator_version, s.topic, s.state
  FROM unnest(%b::uuid[], %b::text[]) AS wanted(stream, topic)
 CROSS JOIN LATERAL (
       SELECT * FROM log.huajuan_snapshots k
        WHERE k.originator_id = wanted.stream AND k.topic = wanted.topic
        ORDER BY k.originator_version DESC LIMIT 1) s
"""
# A row without a topic is of a stream that does not hold the last event known of it: a fail-over has lost it.
_EVENTS = b"""
SELECT known.stream, e.originator_version, e.topic, e.state
  FROM unnest(%b::uuid[], %b::bigint[], %b::bytea[]) AS known(stream, version, stamp)
 CROSS JOIN LATERAL (
       (SELECT k.originator_version, k.topic, k.state FROM log.huajuan_events k
         WHERE k.originator_id = known.stream AND k.originator_version > known.version
         ORDER BY k.originator_version LIMIT %b)
        UNION ALL
       SELECT known.version, NULL, NULL
        WHERE known.version > 0
          AND (SELECT true FROM log.huajuan_events k
                WHERE k.originator_id = known.stream AND k.originator_version = known.version
                  AND position(known.stamp IN k.state) > 0) IS NULL) e
"""


_encode = msgspec.json.Encoder().encode
_logger = structlog.get_logger(__name__)


def stamp_of(aggregate: Entity) -> bytes:
    """The moment of its last event, as the event has it: two of one version never share it."""
    return _encode(aggregate.modified_on)


@dataclass(frozen=True)
class Stream(Generic[E]):
    """Where an aggregate's facts are: its kind and its id."""

    kind: type[E]
    id: UUID


class Loader:
    """Brings aggregates up to the log's newest events, `page_events_max` rows a query."""

    def __init__(self, reads: SharedReads, mapper: EventMapper, keys: KeyRing, page_events_max: int) -> None:
        self._reads = reads
        self._mapper = mapper
        self._keys = keys
        self._page_events_max = page_events_max

    async def bring_up_to_date(
        self, streams: Iterable[Stream[Any]], known: dict[UUID, Entity]
    ) -> dict[UUID, int]:
        """Adds to `known`, or advances in it, each stream that has events. Returns how many each got."""
        wanted = {stream.id: stream for stream in streams}
        cold = [stream for stream in wanted.values() if stream.id not in known]
        await self._start_from_snapshots(cold, known)
        return await self._add_events(list(wanted), known)

    async def _start_from_snapshots(self, cold: list[Stream[Any]], known: dict[UUID, Entity]) -> None:
        topics = {s.id: t for s in cold if (t := getattr(s.kind.Snapshot, "TOPIC", None))}
        if topics:
            columns = (list(topics), list(topics.values()))
            for snapshot in await self._select(_SNAPSHOTS, columns):
                if snapshot.state is not None:  # an erased person's snapshots cannot be opened
                    known[snapshot.originator_id] = snapshot.mutate(None)

    async def _add_events(self, ids: list[UUID], known: dict[UUID, Entity]) -> dict[UUID, int]:
        added, trusted = dict.fromkeys(ids, 0), set[UUID]()
        while True:
            versions = [known[i].version if i in known else 0 for i in ids]
            stamps = [stamp_of(known[i]) if i in known and i not in trusted else b"" for i in ids]
            rows = await self._reads.run(_EVENTS, (ids, versions, stamps, self._page_events_max))
            astray = {stream for stream, _, topic, _ in rows if topic is None}
            if astray:
                _logger.warning("states ahead of the log are dropped", streams=len(astray))
                for stream in astray:
                    known.pop(stream, None)
            trusted |= astray
            page = await self._events(row for row in rows if row[0] not in astray)
            for event in page:
                known[event.originator_id] = _mutated(known.get(event.originator_id), event)
                added[event.originator_id] += 1
            if len(page) < self._page_events_max and not astray:
                return added

    async def _select(self, query: bytes, columns: Sequence[Any]) -> list[Any]:
        return await self._events(await self._reads.run(query, columns))

    async def _events(self, found: Iterable[tuple[Any, ...]]) -> list[Any]:
        rows = [StoredEvent(*row) for row in found]
        await self._keys.need(self._mapper.subjects(rows))
        return [self._mapper.to_domain_event(row) for row in rows]


def _mutated(aggregate: Entity | None, event: Any) -> Any:
    """Raises `StreamBroken` where events are missing."""
    try:
        if aggregate is None and event.originator_version > Entity.INITIAL_VERSION:
            raise OriginatorVersionError(event.originator_version, Entity.INITIAL_VERSION)
        return event.mutate(aggregate)
    except OriginatorVersionError as error:
        found, due = error.args
        stream = str(event.originator_id)
        _logger.error(
            "stream has a gap", stream=stream, version=found, due=due, find_where_with="huajuan verify"
        )
        raise StreamBroken(stream) from error
