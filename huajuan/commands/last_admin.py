"""Keeps the service from losing its last admin: bans and erasures of admins go one after the other."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from huajuan.domain.account import Account
from huajuan.domain.admin import Admin
from huajuan.domain.refusals import LastAdmin
from huajuan.event_store.admins import admins_alone
from huajuan.event_store.store import EventStore


@asynccontextmanager
async def sparing_last_admin(
    store: EventStore, dsn: str, account_id: UUID, seconds_max: float
) -> AsyncIterator[None]:
    """While this lasts another admin stays, if this account is one. Raises `LastAdmin` and `LogError`."""
    if not await can_act_as_admin(store, account_id):
        yield
        return
    async with admins_alone(dsn, seconds_max) as accounts:
        # By now it may have lost the role, or the account.
        if await can_act_as_admin(store, account_id) and not await _any_other(store, accounts, account_id):
            raise LastAdmin
        yield


async def can_act_as_admin(store: EventStore, account_id: UUID) -> bool:
    """Whether the account has the role, is approved, and is neither erased nor banned."""
    admin = await store.find(Admin, store.stream_ids.admin(account_id))
    if admin is None or not admin.stands:
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
