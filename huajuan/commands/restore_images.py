"""Restore images that one deleted: all of them or none, their likes and ids come back."""

from collections.abc import Iterable
from uuid import UUID

from huajuan.domain.aggregate import Entity
from huajuan.domain.image import Image
from huajuan.domain.refusals import ImageNotFound
from huajuan.event_store.loader import Stream
from huajuan.event_store.store import Decided, EventStore


async def restore_images(store: EventStore, account_id: UUID, image_ids: Iterable[UUID]) -> Decided:
    """Raises `ImageNotFound` if any is not there, not theirs, not deleted, or deleted for too long."""
    streams = [Stream(Image, image_id) for image_id in dict.fromkeys(image_ids)]

    def decide(*images: Image | None) -> Iterable[Entity]:
        for image in images:
            if image is None:
                raise ImageNotFound
            image.restore(account_id, store.clock())
        return [image for image in images if image]

    return await store.change(decide, *streams)
