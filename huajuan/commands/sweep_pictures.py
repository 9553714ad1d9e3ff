"""Sweep pictures: the files of images deleted for too long to be restored are removed for good."""

import asyncio
from collections.abc import Iterable
from datetime import timedelta
from uuid import UUID

import structlog

from huajuan.domain.aggregate import Entity
from huajuan.domain.image import Image
from huajuan.event_store.errors import LogError
from huajuan.event_store.loader import Stream
from huajuan.event_store.store import EventStore
from huajuan.storage.deleted_pictures import Trash
from huajuan.storage.pictures import Pictures, StoreAway

# A picture is put into the trash before its deletion is stated; after so long it was restored, or never deleted.
STATING_MAX = timedelta(minutes=2)
FAILURES_MAX = 3
_logger = structlog.get_logger(__name__)


async def sweep_pictures(store: EventStore, trash: Trash, pictures: Pictures, most: int) -> int:
    """At most `most`; returns how many files are gone. One that cannot be removed is left for the next time."""
    gone = failed = 0
    for image_id in await trash.due(store.clock(), most):
        try:
            gone += await _sweep(store, trash, pictures, image_id)
        except StoreAway as error:
            failed += 1
            _logger.warning("picture left for later", image_id=str(image_id), reason=str(error))
            if failed >= FAILURES_MAX:  # the store does not work: all others would fail as well
                break
    return gone


async def keep_sweeping_pictures(
    store: EventStore, trash: Trash, pictures: Pictures, most: int, every_seconds: float
) -> None:
    """For ever: at once, then on a timer."""
    while True:
        try:
            await sweep_pictures(store, trash, pictures, most)
        except (LogError, OSError) as error:
            _logger.warning("pictures left for later", error=type(error).__name__)
        await asyncio.sleep(every_seconds)


async def _sweep(store: EventStore, trash: Trash, pictures: Pictures, image_id: UUID) -> bool:
    """First the fact, then the file: a restored picture always has its file."""
    now = store.clock()

    def decide(image: Image | None) -> Iterable[Entity]:
        if image:
            image.sweep(now)
        return [image] if image else []

    image = next(iter((await store.change(decide, Stream(Image, image_id))).aggregates), None)
    if not image or not image.is_swept:
        await trash.take_out(image_id, now - STATING_MAX)
        return False
    await pictures.remove(image.picture)
    await trash.take_out(image_id, now)
    return True
