"""Have a painter get no more jobs, in any process; it ends those that it has."""

from collections.abc import Iterable

from huajuan.domain.aggregate import Entity
from huajuan.domain.inference_servers import Studio
from huajuan.event_store.loader import Stream
from huajuan.event_store.store import Decided, EventStore


async def remove_painter(store: EventStore, url: str, configured: Iterable[str], reason: str) -> Decided:
    """`configured` are the addresses in the settings. Raises `PainterUnfit`, `NotPainter`, `ReasonRefused`."""
    studio_id = store.stream_ids.studio()

    def decide(found: Studio | None) -> Iterable[Entity]:
        studio = found or Studio.open(studio_id)
        studio.remove(url, configured, reason)
        return [studio]

    return await store.change(decide, Stream(Studio, studio_id))
