"""Put an image among one's favorites, once."""

from collections.abc import Iterable
from uuid import UUID

from huajuan.domain.aggregate import Entity
from huajuan.domain.favorite import Favorite
from huajuan.domain.image import Image, shown
from huajuan.event_store.loader import Stream
from huajuan.event_store.store import Decided, EventStore


async def favorite_image(store: EventStore, account_id: UUID, image_id: UUID) -> Decided:
    """Raises `ImageNotFound` or `AlreadyFavorite`."""
    favorite_id = store.stream_ids.favorite(account_id, image_id)

    def decide(favorite: Favorite | None, image: Image | None) -> Iterable[Entity]:
        shown(image)
        if favorite is None:
            return [Favorite.begin(favorite_id, account_id, image_id)]
        favorite.add()
        return [favorite]

    return await store.change(decide, Stream(Favorite, favorite_id), beside=Stream(Image, image_id))
