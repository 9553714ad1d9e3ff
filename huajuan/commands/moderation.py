"""The acts of admins on an account: adjust points, ban, unban, approve, reset the check-in, grant the admin
role and revoke it.

Each act has a reason, which is encrypted with the key of the account. Rejecting is in `erase_account`.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from uuid import UUID

from huajuan.domain.account import Account, decide_on_account, require_account
from huajuan.domain.admin import Admin
from huajuan.domain.refusals import LastAdmin, NotAdmin
from huajuan.domain.rules import check_points, check_reason
from huajuan.event_store.loader import Stream
from huajuan.event_store.log_reader import locked_admin_ids
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
    return await store.change(decide_on_account(act), Stream(Account, account_id))


async def grant_admin(store: EventStore, account_id: UUID, reason: str) -> ChangeResult:
    """Raises `NotRegistered` or `AlreadyAdmin`."""
    admin_id = store.stream_ids.admin(account_id)

    def decide(admin: Admin | None, account: Account | None) -> list[Admin]:
        require_account(account)
        if admin is None:
            return [Admin.begin(admin_id, account_id, reason)]
        admin.grant(reason)
        return [admin]

    return await store.change(decide, Stream(Admin, admin_id), read_only=Stream(Account, account_id))


async def revoke_admin(store: EventStore, account_id: UUID, reason: str) -> ChangeResult:
    """Takes effect in every worker at once. Raises `NotRegistered` or `NotAdmin`."""

    def decide(admin: Admin | None, account: Account | None) -> list[Admin]:
        require_account(account)
        if admin is None:
            raise NotAdmin
        admin.revoke(reason)
        return [admin]

    admin_id = store.stream_ids.admin(account_id)
    return await store.change(decide, Stream(Admin, admin_id), read_only=Stream(Account, account_id))


@asynccontextmanager
async def protecting_last_admin(
    store: EventStore, dsn: str, account_id: UUID, seconds_max: float
) -> AsyncIterator[None]:
    """Guarantee during the block that an admin other than this account exists, if this account is an admin.

    An advisory lock makes bans and erasures of admins run one after the other.
    Raises `LastAdmin` and `DatabaseFailure`.
    """
    if not await can_act_as_admin(store, account_id):
        yield
        return
    async with locked_admin_ids(dsn, seconds_max) as accounts:
        # Checked again: the account may have lost the role while this command waited for the lock.
        if await can_act_as_admin(store, account_id) and not await _any_other(store, accounts, account_id):
            raise LastAdmin
        yield


async def can_act_as_admin(store: EventStore, account_id: UUID) -> bool:
    """Whether the account has the role, is approved, and is neither erased nor banned."""
    admin = await store.find(Admin, store.stream_ids.admin(account_id))
    if admin is None or not admin.is_active:
        return False
    account = await store.find(Account, account_id)
    return account is not None and not (account.is_pending or account.is_erased or account.is_banned)


async def _any_other(store: EventStore, accounts: list[UUID], account_id: UUID) -> bool:
    for other in accounts:
        if other != account_id and await can_act_as_admin(store, other):
            return True
    return False
