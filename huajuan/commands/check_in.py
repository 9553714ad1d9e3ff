"""Check in: a visit is rewarded with points, as a rule once a day."""

from collections.abc import Iterable
from uuid import UUID
from zoneinfo import ZoneInfo

from huajuan.domain.account import Account, known
from huajuan.domain.aggregate import Entity
from huajuan.event_store.loader import Stream
from huajuan.event_store.store import Decided, EventStore


async def check_in(store: EventStore, account_id: UUID, zone: ZoneInfo, *, once_a_day: bool) -> Decided:
    """The account with its reward; a day begins at midnight in `zone`. Raises `AlreadyCheckedIn`
    or `BalanceOutOfRange`.
    """
    today = store.clock().astimezone(zone).date()

    def decide(found: Account | None) -> Iterable[Entity]:
        account = known(found)
        account.check_in(today, once_a_day=once_a_day)
        return [account]

    return await store.change(decide, Stream(Account, account_id))
