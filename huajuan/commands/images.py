"""Delete images, restore them within the restore window, and remove the files of deleted pictures and of
replaced avatars.
"""

from collections.abc import Iterable
from datetime import timedelta
from functools import partial
from uuid import UUID

import structlog

from huajuan.domain.account import Account
from huajuan.domain.image import Image, require_visible
from huajuan.domain.refusals import ImageNotFound
from huajuan.event_store.loader import Stream
from huajuan.event_store.store import ChangeResult, EventStore
from huajuan.runtime.periodic import periodic
from huajuan.storage.deletions import AvatarFiles, DeletedPictures, DueAvatar
from huajuan.storage.pictures import Pictures, StorageUnavailable, picture_key

# A picture is recorded before its deletion is appended. A deletion that is not appended within this time
# is abandoned.
APPEND_TIMEOUT = timedelta(minutes=2)
RETRY_SECONDS = 60.0
# A sweep ends after so many failed removals: the picture store is assumed to be unavailable.
FAILURES_MAX = 3
_logger = structlog.get_logger(__name__)


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

    def decide(*images: Image | None) -> list[Image]:
        for image in images:
            require_visible(image).delete(account_id, until)
        return [image for image in images if image]

    await deleted_pictures.put([stream.id for stream in streams], until)
    return await store.change(decide, *streams)


async def restore_images(store: EventStore, account_id: UUID, image_ids: Iterable[UUID]) -> ChangeResult:
    """Restore all of the images with their likes, or none.

    Raises `ImageNotFound` if any is not deleted, belongs to another account, or its window has ended.
    """

    def decide(*images: Image | None) -> list[Image]:
        for image in images:
            if image is None:
                raise ImageNotFound
            image.restore(account_id, store.clock())
        return [image for image in images if image]

    return await store.change(decide, *_streams(image_ids))


def _streams(image_ids: Iterable[UUID]) -> list[Stream[Image]]:
    return [Stream(Image, image_id) for image_id in dict.fromkeys(image_ids)]


async def run_picture_sweeps(
    store: EventStore, deleted_pictures: DeletedPictures, pictures: Pictures, most: int, every_seconds: float
) -> None:
    """Sweep at start and then periodically."""
    await periodic(
        "sweep pictures", partial(sweep_pictures, store, deleted_pictures, pictures, most), every_seconds
    )


async def sweep_pictures(
    store: EventStore, deleted_pictures: DeletedPictures, pictures: Pictures, most: int
) -> int:
    """Remove at most `most` files whose images can no longer be restored; return how many were removed."""
    removed = failures = 0
    for image_id in await deleted_pictures.due(store.clock(), most):
        try:
            removed += await _sweep_picture(store, deleted_pictures, pictures, image_id)
        except StorageUnavailable as error:
            _logger.warning("picture not removed", image_id=str(image_id), reason=str(error))
            failures += 1
            if failures >= FAILURES_MAX:
                break
    return removed


async def _sweep_picture(
    store: EventStore, deleted_pictures: DeletedPictures, pictures: Pictures, image_id: UUID
) -> bool:
    """Append the event before removing the file, so that a restored picture always has its file."""
    now = store.clock()

    def decide(image: Image | None) -> list[Image]:
        if image:
            image.sweep(now)
        return [image] if image else []

    image = next(iter((await store.change(decide, Stream(Image, image_id))).aggregates), None)
    if not image or not image.is_swept:
        await deleted_pictures.remove_if_due(image_id, now - APPEND_TIMEOUT)
        return False
    await pictures.remove(image.picture)
    await deleted_pictures.remove_if_due(image_id, now)
    return True


async def run_avatar_sweeps(store: EventStore, avatars: AvatarFiles, most: int, every_seconds: float) -> None:
    """Sweep at start, periodically, and whenever this process replaced an avatar."""

    async def sweep_all() -> None:
        while await sweep_avatars(store, avatars, most) >= max(1, most):
            pass

    await periodic("sweep avatars", sweep_all, every_seconds, wakeup=avatars.wakeup)


async def sweep_avatars(store: EventStore, avatars: AvatarFiles, most: int) -> int:
    """Check at most `most` uploaded avatars and remove those not in use; return how many were checked."""
    checked = failures = 0
    for due in await avatars.due(most):
        try:
            await _sweep_avatar(store, avatars, due)
        except StorageUnavailable as error:
            _logger.warning("avatar not removed", reason=str(error))
            await avatars.postpone(due, RETRY_SECONDS)
            failures += 1
            if failures >= FAILURES_MAX:
                break
        checked += 1
    return checked


async def _sweep_avatar(store: EventStore, avatars: AvatarFiles, due: DueAvatar) -> None:
    """Look for the key in the address, because older events contain absolute URLs."""
    account = await store.find(Account, due.account_id)
    if account and not account.is_erased and picture_key(due.avatar_id) in (account.avatar_url or ""):
        await avatars.mark_in_use(due)
    else:
        await avatars.remove(due.avatar_id)
