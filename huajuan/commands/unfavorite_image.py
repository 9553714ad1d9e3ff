"""Take an image out of one's favorites."""

from collections.abc import Iterable
from uuid import UUID

from huajuan.domain.aggregate import Entity
from huajuan.domain.favorite import Favorite
from huajuan.domain.refusals import NotFavorite
from huajuan.event_store.loader import Stream
from huajuan.event_store.store import Decided, EventStore


async def unfavorite_image(store: EventStore, account_id: UUID, image_id: UUID) -> Decided:
    """Raises `NotFavorite`. The image itself may be gone by now."""

    def decide(favorite: Favorite | None) -> Iterable[Entity]:
        if favorite is None:
            raise NotFavorite
        favorite.remove()
        return [favorite]

    return await store.change(decide, Stream(Favorite, store.stream_ids.favorite(account_id, image_id)))
