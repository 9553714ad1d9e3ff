"""Reads aggregates: the newest snapshot, then the events after it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from uuid import UUID

from eventsourcing.persistence import StoredEvent

from huajuan.domain.facts import Entity
from huajuan.event_store.keys import KeyRing
from huajuan.event_store.mapper import EventMapper
from huajuan.event_store.shared_reads import SharedReads

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
_EVENTS = b"""
SELECT e.originator_id, e.originator_version, e.topic, e.state
  FROM unnest(%b::uuid[], %b::bigint[]) AS known(stream, version)
 CROSS JOIN LATERAL (
       SELECT * FROM log.huajuan_events k
        WHERE k.originator_id = known.stream AND k.originator_version > known.version
        ORDER BY k.originator_version LIMIT %b) e
"""


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
        added = dict.fromkeys(ids, 0)
        while True:
            versions = [known[i].version if i in known else 0 for i in ids]
            page = await self._select(_EVENTS, (ids, versions, self._page_events_max))
            for event in page:
                known[event.originator_id] = event.mutate(known.get(event.originator_id))
                added[event.originator_id] += 1
            if len(page) < self._page_events_max:
                return added

    async def _select(self, query: bytes, columns: Sequence[Any]) -> list[Any]:
        rows = [StoredEvent(*row) for row in await self._reads.run(query, columns)]
        await self._keys.need(self._mapper.subjects(rows))
        return [self._mapper.to_domain_event(row) for row in rows]
