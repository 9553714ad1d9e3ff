"""Check in: grant the reward for a visit, by default once a day."""

from uuid import UUID
from zoneinfo import ZoneInfo

from huajuan.domain.account import Account, decide_on_account
from huajuan.event_store.loader import Stream
from huajuan.event_store.store import ChangeResult, EventStore


async def check_in(store: EventStore, account_id: UUID, zone: ZoneInfo, *, once_a_day: bool) -> ChangeResult:
    """A day begins at midnight in `zone`.

    Raises `NotRegistered`, `AlreadyCheckedIn` or `BalanceOutOfRange`.
    """
    today = store.clock().astimezone(zone).date()
    decide = decide_on_account(lambda account: account.check_in(today, once_a_day=once_a_day))
    return await store.change(decide, Stream(Account, account_id))
