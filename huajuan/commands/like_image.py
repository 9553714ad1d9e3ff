"""Like an image, once."""

from collections.abc import Iterable
from uuid import UUID

from huajuan.domain.aggregate import Entity
from huajuan.domain.image import Image, shown
from huajuan.domain.like import Like
from huajuan.event_store.loader import Stream
from huajuan.event_store.store import Decided, EventStore


async def like_image(store: EventStore, account_id: UUID, image_id: UUID) -> Decided:
    """Raises `ImageNotFound` or `AlreadyLiked`."""
    like_id = store.stream_ids.like(account_id, image_id)

    def decide(like: Like | None, image: Image | None) -> Iterable[Entity]:
        shown(image)
        if like is None:
            return [Like.begin(like_id, account_id, image_id)]
        like.give()
        return [like]

    return await store.change(decide, Stream(Like, like_id), beside=Stream(Image, image_id))
