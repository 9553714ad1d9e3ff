"""Have one more painter draw, from now on, in every process."""

from collections.abc import Iterable

from huajuan.domain.aggregate import Entity
from huajuan.domain.inference_servers import Studio
from huajuan.event_store.loader import Stream
from huajuan.event_store.store import Decided, EventStore


async def add_painter(store: EventStore, url: str, configured: Iterable[str], reason: str) -> Decided:
    """`configured` are the addresses in the settings. Raises `PainterUnfit`, `AlreadyPainter`, `ReasonRefused`."""
    studio_id = store.stream_ids.studio()

    def decide(found: Studio | None) -> Iterable[Entity]:
        studio = found or Studio.open(studio_id)
        studio.add(url, configured, reason)
        return [studio]

    return await store.change(decide, Stream(Studio, studio_id))
