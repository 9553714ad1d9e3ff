"""Ask for a read table to be rebuilt, on record."""

from collections.abc import Iterable

from huajuan.domain.aggregate import Entity
from huajuan.domain.read_table import ReadTable
from huajuan.event_store.loader import Stream
from huajuan.event_store.store import Decided, EventStore


async def asked_earlier(store: EventStore, projection: str) -> Decided | None:
    """By an earlier run of the same command, which may not have come so far as to begin it."""
    return await store.made_before(Stream(ReadTable, store.stream_ids.read_table(projection)))


async def ask_for_rebuild(store: EventStore, projection: str, reason: str) -> Decided:
    """`projection` is a projection's name with its version, such as `history_v1`. Nothing is rebuilt here."""
    table_id = store.stream_ids.read_table(projection)

    def decide(found: ReadTable | None) -> Iterable[Entity]:
        table = found or ReadTable.name(table_id, projection)
        table.ask_for_rebuild(reason)
        return [table]

    return await store.change(decide, Stream(ReadTable, table_id))
