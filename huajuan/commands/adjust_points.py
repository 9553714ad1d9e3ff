"""Adjust points: an admin gives points to an account or takes some from it, and says why."""

from collections.abc import Iterable
from uuid import UUID

from huajuan.domain.account import Account, known
from huajuan.domain.aggregate import Entity
from huajuan.domain.points import check_adjustment
from huajuan.domain.reasons import check_reason
from huajuan.event_store.loader import Stream
from huajuan.event_store.store import Decided, EventStore


async def adjust_points(
    store: EventStore, account_id: UUID, change: int, reason: str, *, forced: bool = False
) -> Decided:
    """`change` is added, or taken where negative: below zero only if `forced`.

    Raises `PointsUnfit`, `ReasonRefused`, `NotRegistered`, `NotEnoughPoints` or `BalanceOutOfRange`.
    """
    check_adjustment(change)
    check_reason(reason)

    def decide(found: Account | None) -> Iterable[Entity]:
        account = known(found)
        if change > 0:
            account.grant(change, reason)
        else:
            account.deduct(-change, reason, forced=forced)
        return [account]

    return await store.change(decide, Stream(Account, account_id))
