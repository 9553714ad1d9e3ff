"""The acts of admins on an account: adjust points, ban, unban, approve, reset the check-in.

Each act has a reason, which is encrypted with the key of the account. Rejecting is in `erase_account`.
"""

from collections.abc import Callable, Iterable
from uuid import UUID

from huajuan.domain.account import Account, require_account
from huajuan.domain.aggregate import AggregateRoot
from huajuan.domain.rules import check_points, check_reason
from huajuan.event_store.loader import Stream
from huajuan.event_store.store import ChangeResult, EventStore


async def adjust_points(
    store: EventStore, account_id: UUID, change: int, reason: str, *, forced: bool = False
) -> ChangeResult:
    """Grant `change` points, or deduct them if negative; below a balance of zero only if `forced`.

    Raises `PointsInvalid`, `ReasonInvalid`, `NotRegistered`, `NotEnoughPoints` or `BalanceOutOfRange`.
    """
    check_points(abs(change))

    def act(account: Account) -> None:
        if change > 0:
            account.grant(change, reason)
        else:
            account.deduct(-change, reason, forced=forced)

    return await _act(store, account_id, reason, act)


async def ban_account(store: EventStore, account_id: UUID, reason: str) -> ChangeResult:
    """Refuse the account's tokens and log-ins. Raises `ReasonInvalid`, `NotRegistered` or `AlreadyBanned`."""
    return await _act(store, account_id, reason, lambda account: account.ban(reason))


async def unban_account(store: EventStore, account_id: UUID, reason: str) -> ChangeResult:
    """Raises `ReasonInvalid`, `NotRegistered` or `NotBanned`."""
    return await _act(store, account_id, reason, lambda account: account.unban(reason))


async def approve_account(store: EventStore, account_id: UUID, reason: str) -> ChangeResult:
    """Permit log-ins and grant the welcome points.

    Raises `ReasonInvalid`, `NotRegistered` or `NotPending`.
    """
    return await _act(store, account_id, reason, lambda account: account.approve(reason))


async def reset_check_in(store: EventStore, account_id: UUID, reason: str) -> ChangeResult:
    """Permit another check-in on any day. Raises `ReasonInvalid` or `NotRegistered`."""
    return await _act(store, account_id, reason, lambda account: account.reset_check_in(reason))


async def _act(
    store: EventStore, account_id: UUID, reason: str, act: Callable[[Account], None]
) -> ChangeResult:
    check_reason(reason)

    def decide(found: Account | None) -> Iterable[AggregateRoot]:
        account = require_account(found)
        act(account)
        return [account]

    return await store.change(decide, Stream(Account, account_id))
