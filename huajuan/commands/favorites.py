"""Add an image to one's favorites, and remove it."""

from collections.abc import Iterable
from uuid import UUID

from huajuan.domain.aggregate import AggregateRoot
from huajuan.domain.favorite import Favorite
from huajuan.domain.image import Image, require_visible
from huajuan.domain.refusals import NotFavorite
from huajuan.event_store.loader import Stream
from huajuan.event_store.store import ChangeResult, EventStore


async def favorite_image(store: EventStore, account_id: UUID, image_id: UUID) -> ChangeResult:
    """Raises `ImageNotFound` or `AlreadyFavorite`."""
    favorite_id = store.stream_ids.favorite(account_id, image_id)

    def decide(favorite: Favorite | None, image: Image | None) -> Iterable[AggregateRoot]:
        require_visible(image)
        if favorite is None:
            return [Favorite.begin(favorite_id, account_id, image_id)]
        favorite.add()
        return [favorite]

    return await store.change(decide, Stream(Favorite, favorite_id), read_only=Stream(Image, image_id))


async def unfavorite_image(store: EventStore, account_id: UUID, image_id: UUID) -> ChangeResult:
    """Works for deleted images too. Raises `NotFavorite`."""

    def decide(favorite: Favorite | None) -> Iterable[AggregateRoot]:
        if favorite is None:
            raise NotFavorite
        favorite.remove()
        return [favorite]

    return await store.change(decide, Stream(Favorite, store.stream_ids.favorite(account_id, image_id)))
