"""Delete one's images: all of them or none, and for a while it can be undone."""

from collections.abc import Iterable
from datetime import timedelta
from uuid import UUID

from huajuan.domain.aggregate import Entity
from huajuan.domain.image import Image, shown
from huajuan.event_store.loader import Stream
from huajuan.event_store.store import Decided, EventStore
from huajuan.storage.deleted_pictures import Trash


async def delete_images(
    store: EventStore, trash: Trash, account_id: UUID, image_ids: Iterable[UUID], window: timedelta
) -> Decided:
    """They can be restored within `window`. Raises `ImageNotFound` if any is not there or not theirs."""
    streams = [Stream(Image, image_id) for image_id in dict.fromkeys(image_ids)]
    until = store.clock() + window

    def decide(*images: Image | None) -> Iterable[Entity]:
        for image in images:
            shown(image).delete(account_id, until)
        return [image for image in images if image]

    await trash.put([stream.id for stream in streams], until)
    return await store.change(decide, *streams)
