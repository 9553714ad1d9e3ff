"""Take a like back."""

from collections.abc import Iterable
from uuid import UUID

from huajuan.domain.aggregate import Entity
from huajuan.domain.image import Image, shown
from huajuan.domain.like import Like
from huajuan.domain.refusals import NotLiked
from huajuan.event_store.loader import Stream
from huajuan.event_store.store import Decided, EventStore


async def unlike_image(store: EventStore, account_id: UUID, image_id: UUID) -> Decided:
    """Raises `ImageNotFound` or `NotLiked`."""
    like_id = store.stream_ids.like(account_id, image_id)

    def decide(like: Like | None, image: Image | None) -> Iterable[Entity]:
        shown(image)
        if like is None:
            raise NotLiked
        like.take_back()
        return [like]

    return await store.change(decide, Stream(Like, like_id), beside=Stream(Image, image_id))
