"""Delete images and restore them within the restore window."""

from collections.abc import Iterable
from datetime import timedelta
from uuid import UUID

from huajuan.domain.aggregate import AggregateRoot
from huajuan.domain.image import Image, require_visible
from huajuan.domain.refusals import ImageNotFound
from huajuan.event_store.loader import Stream
from huajuan.event_store.store import ChangeResult, EventStore
from huajuan.storage.deletions import DeletedPictures


async def delete_images(
    store: EventStore,
    deleted_pictures: DeletedPictures,
    account_id: UUID,
    image_ids: Iterable[UUID],
    window: timedelta,
) -> ChangeResult:
    """Delete all of the images, or none. They can be restored within `window`.

    Raises `ImageNotFound` if any is not visible or belongs to another account.
    """
    streams = _streams(image_ids)
    until = store.clock() + window

    def decide(*images: Image | None) -> Iterable[AggregateRoot]:
        for image in images:
            require_visible(image).delete(account_id, until)
        return [image for image in images if image]

    await deleted_pictures.put([stream.id for stream in streams], until)
    return await store.change(decide, *streams)


async def restore_images(store: EventStore, account_id: UUID, image_ids: Iterable[UUID]) -> ChangeResult:
    """Restore all of the images with their likes, or none.

    Raises `ImageNotFound` if any is not deleted, belongs to another account, or its window has ended.
    """

    def decide(*images: Image | None) -> Iterable[AggregateRoot]:
        for image in images:
            if image is None:
                raise ImageNotFound
            image.restore(account_id, store.clock())
        return [image for image in images if image]

    return await store.change(decide, *_streams(image_ids))


def _streams(image_ids: Iterable[UUID]) -> list[Stream[Image]]:
    return [Stream(Image, image_id) for image_id in dict.fromkeys(image_ids)]
