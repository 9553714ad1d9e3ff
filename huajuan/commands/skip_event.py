"""Have a read table leave out an event that it cannot fold, on record."""

from collections.abc import Iterable

from huajuan.domain.aggregate import Entity
from huajuan.domain.read_table import ReadTable
from huajuan.event_store.loader import Stream
from huajuan.event_store.store import Decided, EventStore


async def skipped_earlier(store: EventStore, projection: str) -> Decided | None:
    """By an earlier run of the same command, since when the table may have gone on."""
    return await store.made_before(Stream(ReadTable, store.stream_ids.read_table(projection)))


async def skip_event(store: EventStore, projection: str, position: int, topic: str, reason: str) -> Decided:
    """`projection` is a projection's name with its version; only that version leaves the event out.

    Raises `AlreadySkipped`.
    """
    table_id = store.stream_ids.read_table(projection)

    def decide(found: ReadTable | None) -> Iterable[Entity]:
        table = found or ReadTable.name(table_id, projection)
        table.skip(position, topic, reason)
        return [table]

    return await store.change(decide, Stream(ReadTable, table_id))
