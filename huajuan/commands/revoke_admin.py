"""Take the admin role from somebody."""

from collections.abc import Iterable
from uuid import UUID

from huajuan.domain.account import Account, known
from huajuan.domain.admin import Admin
from huajuan.domain.aggregate import Entity
from huajuan.domain.refusals import NotAdmin
from huajuan.event_store.loader import Stream
from huajuan.event_store.store import Decided, EventStore


async def revoke_admin(store: EventStore, account_id: UUID, reason: str) -> Decided:
    """Raises `NotRegistered` or `NotAdmin`. From here on every worker refuses them."""

    def decide(admin: Admin | None, account: Account | None) -> Iterable[Entity]:
        known(account)
        if admin is None:
            raise NotAdmin
        admin.revoke(reason)
        return [admin]

    admin_id = store.stream_ids.admin(account_id)
    return await store.change(decide, Stream(Admin, admin_id), beside=Stream(Account, account_id))
