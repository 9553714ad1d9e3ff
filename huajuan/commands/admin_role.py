"""Grant and revoke the admin role, and keep at least one admin."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from uuid import UUID

from huajuan.domain.account import Account, require_account
from huajuan.domain.admin import Admin
from huajuan.domain.aggregate import AggregateRoot
from huajuan.domain.refusals import LastAdmin, NotAdmin
from huajuan.event_store.loader import Stream
from huajuan.event_store.log_reader import locked_admin_ids
from huajuan.event_store.store import ChangeResult, EventStore


async def grant_admin(store: EventStore, account_id: UUID, reason: str) -> ChangeResult:
    """Raises `NotRegistered` or `AlreadyAdmin`."""
    admin_id = store.stream_ids.admin(account_id)

    def decide(admin: Admin | None, account: Account | None) -> Iterable[AggregateRoot]:
        require_account(account)
        if admin is None:
            return [Admin.begin(admin_id, account_id, reason)]
        admin.grant(reason)
        return [admin]

    return await store.change(decide, Stream(Admin, admin_id), read_only=Stream(Account, account_id))


async def revoke_admin(store: EventStore, account_id: UUID, reason: str) -> ChangeResult:
    """Takes effect in every worker at once. Raises `NotRegistered` or `NotAdmin`."""

    def decide(admin: Admin | None, account: Account | None) -> Iterable[AggregateRoot]:
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
    if account is None or account.is_pending:
        return False
    return not account.is_erased and not account.is_banned


async def _any_other(store: EventStore, accounts: list[UUID], account_id: UUID) -> bool:
    for other in accounts:
        if other != account_id and await can_act_as_admin(store, other):
            return True
    return False
