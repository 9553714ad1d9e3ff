"""Set one's avatar, or take it away."""

from collections.abc import Iterable
from uuid import UUID

from huajuan.domain.account import Account, known
from huajuan.domain.aggregate import Entity
from huajuan.domain.avatar import check_avatar
from huajuan.event_store.loader import Stream
from huajuan.event_store.store import Decided, EventStore


async def set_avatar(store: EventStore, account_id: UUID, url: str) -> Decided:
    """Raises `AvatarUnfit` or `NotRegistered`."""
    check_avatar(url)

    def decide(found: Account | None) -> Iterable[Entity]:
        account = known(found)
        account.change_avatar(url)
        return [account]

    return await store.change(decide, Stream(Account, account_id))
