"""Approve an account: its owner may log in, and the welcome points come."""

from collections.abc import Iterable
from uuid import UUID

from huajuan.domain.account import Account, known
from huajuan.domain.aggregate import Entity
from huajuan.domain.reasons import check_reason
from huajuan.event_store.loader import Stream
from huajuan.event_store.store import Decided, EventStore


async def approve_account(store: EventStore, account_id: UUID, reason: str) -> Decided:
    """Raises `ReasonMissing`, `NotRegistered` or `NotPending`."""
    check_reason(reason)

    def decide(found: Account | None) -> Iterable[Entity]:
        account = known(found)
        account.approve(reason)
        return [account]

    return await store.change(decide, Stream(Account, account_id))
