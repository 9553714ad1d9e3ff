"""Like an image, and take the like back."""

from collections.abc import Iterable
from uuid import UUID

from huajuan.domain.aggregate import AggregateRoot
from huajuan.domain.image import Image, require_visible
from huajuan.domain.like import Like
from huajuan.domain.refusals import NotLiked
from huajuan.event_store.loader import Stream
from huajuan.event_store.store import ChangeResult, EventStore


async def like_image(store: EventStore, account_id: UUID, image_id: UUID) -> ChangeResult:
    """Raises `ImageNotFound` or `AlreadyLiked`."""
    like_id = store.stream_ids.like(account_id, image_id)

    def decide(like: Like | None, image: Image | None) -> Iterable[AggregateRoot]:
        require_visible(image)
        if like is None:
            return [Like.begin(like_id, account_id, image_id)]
        like.give()
        return [like]

    return await store.change(decide, Stream(Like, like_id), read_only=Stream(Image, image_id))


async def unlike_image(store: EventStore, account_id: UUID, image_id: UUID) -> ChangeResult:
    """Raises `ImageNotFound` or `NotLiked`."""
    like_id = store.stream_ids.like(account_id, image_id)

    def decide(like: Like | None, image: Image | None) -> Iterable[AggregateRoot]:
        require_visible(image)
        if like is None:
            raise NotLiked
        like.take_back()
        return [like]

    return await store.change(decide, Stream(Like, like_id), read_only=Stream(Image, image_id))
