"""Like an image or add it to one's favorites, and take that back."""

from uuid import UUID

from huajuan.domain.image import Image, require_visible
from huajuan.domain.like_and_favorite import Favorite, Like
from huajuan.domain.refusals import NotFavorite, NotLiked
from huajuan.event_store.loader import Stream
from huajuan.event_store.store import ChangeResult, EventStore


async def like_image(store: EventStore, account_id: UUID, image_id: UUID) -> ChangeResult:
    """Raises `ImageNotFound` or `AlreadyLiked`."""
    like_id = store.stream_ids.like(account_id, image_id)

    def decide(like: Like | None, image: Image | None) -> list[Like]:
        require_visible(image)
        if like is None:
            return [Like.begin(like_id, account_id, image_id)]
        like.give()
        return [like]

    return await store.change(decide, Stream(Like, like_id), read_only=Stream(Image, image_id))


async def unlike_image(store: EventStore, account_id: UUID, image_id: UUID) -> ChangeResult:
    """Raises `ImageNotFound` or `NotLiked`."""

    def decide(like: Like | None, image: Image | None) -> list[Like]:
        require_visible(image)
        if like is None:
            raise NotLiked
        like.take_back()
        return [like]

    stream = Stream(Like, store.stream_ids.like(account_id, image_id))
    return await store.change(decide, stream, read_only=Stream(Image, image_id))


async def favorite_image(store: EventStore, account_id: UUID, image_id: UUID) -> ChangeResult:
    """Raises `ImageNotFound` or `AlreadyFavorite`."""
    favorite_id = store.stream_ids.favorite(account_id, image_id)

    def decide(favorite: Favorite | None, image: Image | None) -> list[Favorite]:
        require_visible(image)
        if favorite is None:
            return [Favorite.begin(favorite_id, account_id, image_id)]
        favorite.add()
        return [favorite]

    return await store.change(decide, Stream(Favorite, favorite_id), read_only=Stream(Image, image_id))


async def unfavorite_image(store: EventStore, account_id: UUID, image_id: UUID) -> ChangeResult:
    """Works for deleted images too. Raises `NotFavorite`."""

    def decide(favorite: Favorite | None) -> list[Favorite]:
        if favorite is None:
            raise NotFavorite
        favorite.remove()
        return [favorite]

    return await store.change(decide, Stream(Favorite, store.stream_ids.favorite(account_id, image_id)))
