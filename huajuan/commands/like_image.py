"""Like an image, once."""

from collections.abc import Iterable
from uuid import UUID

from huajuan.domain.facts import Entity
from huajuan.domain.image import Image, shown
from huajuan.domain.like import Like
from huajuan.event_store.loading import Stream
from huajuan.event_store.store import Decided, EventStore


async def like_image(store: EventStore, account_id: UUID, image_id: UUID) -> Decided:
    """Raises `ImageNotFound` or `AlreadyLiked`.

    The image is looked at and not locked: all who like a picture at once would wait for each other.
    """
    like_id = store.stream_ids.like(account_id, image_id)
    if earlier := await store.made_before(Stream(Like, like_id)):
        return earlier
    shown(await store.find(Image, image_id))

    def decide(like: Like | None) -> Iterable[Entity]:
        if like is None:
            return [Like.begin(like_id, account_id, image_id)]
        like.give()
        return [like]

    return await store.change(decide, Stream(Like, like_id))
