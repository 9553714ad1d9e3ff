"""Make somebody an admin."""

from collections.abc import Iterable
from uuid import UUID

from huajuan.domain.account import Account, known
from huajuan.domain.admin import Admin
from huajuan.domain.aggregate import Entity
from huajuan.event_store.loader import Stream
from huajuan.event_store.store import Decided, EventStore


async def grant_admin(store: EventStore, account_id: UUID, reason: str) -> Decided:
    """Raises `NotRegistered` or `AlreadyAdmin`."""
    admin_id = store.stream_ids.admin(account_id)

    def decide(admin: Admin | None, account: Account | None) -> Iterable[Entity]:
        known(account)
        if admin is None:
            return [Admin.begin(admin_id, account_id, reason)]
        admin.grant(reason)
        return [admin]

    return await store.change(decide, Stream(Admin, admin_id), beside=Stream(Account, account_id))
