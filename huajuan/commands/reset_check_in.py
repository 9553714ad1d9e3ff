"""Reset an account's check-in: it may check in today, whatever day its last check-in was for."""

from collections.abc import Iterable
from uuid import UUID

from huajuan.domain.account import Account, known
from huajuan.domain.aggregate import Entity
from huajuan.domain.reasons import check_reason
from huajuan.event_store.loader import Stream
from huajuan.event_store.store import Decided, EventStore


async def reset_check_in(store: EventStore, account_id: UUID, reason: str) -> Decided:
    """Raises `ReasonMissing` or `NotRegistered`."""
    check_reason(reason)

    def decide(found: Account | None) -> Iterable[Entity]:
        account = known(found)
        account.reset_check_in(reason)
        return [account]

    return await store.change(decide, Stream(Account, account_id))
