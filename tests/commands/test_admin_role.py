"""The admin role: granted and revoked once in races, and never lost by the last admin."""

import asyncio
from uuid import UUID, uuid4

import psycopg
import pytest

from huajuan.commands.moderation import (
    ban_account,
    can_act_as_admin,
    grant_admin,
    protecting_last_admin,
    revoke_admin,
)
from huajuan.domain.account import Account
from huajuan.domain.admin import Admin
from huajuan.domain.refusals import AlreadyAdmin, LastAdmin, NotAdmin, NotRegistered
from huajuan.event_store.errors import DatabaseBusy, DatabaseUnavailable
from huajuan.event_store.loader import Stream
from huajuan.event_store.store import EventStore
from tests.event_store.helpers import log_rows, opened, register
from tests.services import until


async def is_admin(store: EventStore, account_id: UUID) -> bool:
    admin = await store.find(Admin, store.stream_ids.admin(account_id))
    return admin is not None and admin.is_active


async def test_a_missing_account_cannot_be_granted_or_revoked(database_url: str) -> None:
    async with opened(database_url) as store:
        for command in (grant_admin, revoke_admin):
            with pytest.raises(NotRegistered):
                await command(store, uuid4(), "why not")
    assert log_rows(database_url) == []


async def test_one_of_16_concurrent_grants_succeeds(database_url: str) -> None:
    async with opened(database_url) as here, opened(database_url) as there:
        ann = await register(here, "ann")
        grants = [grant_admin(store, ann, "runs it") for _ in range(8) for store in (here, there)]
        results = await asyncio.gather(*grants, return_exceptions=True)
        assert sum(isinstance(result, AlreadyAdmin) for result in results) == 15
        assert await is_admin(here, ann)


async def test_a_revocation_in_another_process_takes_effect_here(database_url: str) -> None:
    async with opened(database_url) as here, opened(database_url) as there:
        ann = await register(here, "ann")
        with pytest.raises(NotAdmin):
            await revoke_admin(there, ann, "never was")
        await grant_admin(here, ann, "runs it")
        assert await is_admin(here, ann)
        await revoke_admin(there, ann, "on leave")
        assert not await is_admin(here, ann)
        await grant_admin(here, ann, "is back")
        assert await is_admin(there, ann)


async def test_the_role_belongs_to_one_account(database_url: str) -> None:
    async with opened(database_url) as store:
        ann, ben = await register(store, "ann"), await register(store, "ben")
        await grant_admin(store, ann, "runs it")
        assert not await is_admin(store, ben)


SECONDS_MAX = 20
_LOCKS = """
SELECT pid FROM pg_locks
 WHERE locktype = 'advisory' AND granted = %s AND objid = hashtext('huajuan admins')::bit(32)::int8::oid
"""


def lockers(dsn: str, *, granted: bool) -> list[int]:
    with psycopg.connect(dsn) as connection:
        return [row[0] for row in connection.execute(_LOCKS, (granted,)).fetchall()]


async def admin(store: EventStore, name: str) -> UUID:
    account_id = await register(store, name)
    await grant_admin(store, account_id, "runs it")
    return account_id


async def ban(store: EventStore, dsn: str, account_id: UUID) -> None:
    async with protecting_last_admin(store, dsn, account_id, SECONDS_MAX):
        await ban_account(store, account_id, "spam")


async def test_concurrent_bans_of_admins_are_serialized(database_url: str) -> None:
    async with opened(database_url) as here, opened(database_url) as there:
        ada, ben = await admin(here, "ada"), await admin(here, "ben")
        async with protecting_last_admin(here, database_url, ada, SECONDS_MAX):
            other = asyncio.create_task(ban(there, database_url, ben))
            await until(lambda: bool(lockers(database_url, granted=False)))
            await ban_account(here, ada, "spam")
        with pytest.raises(LastAdmin):
            await other
        assert [await can_act_as_admin(here, one) for one in (ada, ben)] == [False, True]
        await until(lambda: not lockers(database_url, granted=True))


async def test_an_admin_who_waits_for_approval_does_not_count(database_url: str) -> None:
    def apply(account: Account | None) -> list[Account]:
        assert account
        account.request_approval(0)
        return [account]

    async with opened(database_url) as store:
        ada, ben = await admin(store, "ada"), await admin(store, "ben")
        await store.change(apply, Stream(Account, ben))
        assert not await can_act_as_admin(store, ben)
        with pytest.raises(LastAdmin):
            await ban(store, database_url, ada)


async def test_a_ban_of_a_non_admin_does_not_wait(database_url: str) -> None:
    async with opened(database_url) as store:
        ada, ann = await admin(store, "ada"), await register(store, "ann")
        await admin(store, "ben")
        async with protecting_last_admin(store, database_url, ada, SECONDS_MAX):
            await ban(store, "postgresql://127.0.0.1:1/nowhere", ann)


async def test_a_lost_lock_does_not_fail_a_completed_ban(database_url: str) -> None:
    async with opened(database_url) as store:
        ada = await admin(store, "ada")
        await admin(store, "ben")
        async with protecting_last_admin(store, database_url, ada, SECONDS_MAX):
            await ban_account(store, ada, "spam")
            with psycopg.connect(database_url) as killer:
                for pid in lockers(database_url, granted=True):
                    killer.execute("SELECT pg_terminate_backend(%s)", (pid,))
            await until(lambda: not lockers(database_url, granted=True))
        assert not await can_act_as_admin(store, ada)


async def test_a_wait_for_the_lock_is_bounded(database_url: str) -> None:
    async with opened(database_url) as store:
        ada, ben = await admin(store, "ada"), await admin(store, "ben")
        async with protecting_last_admin(store, database_url, ada, SECONDS_MAX):
            with pytest.raises(DatabaseBusy):
                async with protecting_last_admin(store, database_url, ben, 0.2):
                    pass
        with pytest.raises(DatabaseUnavailable):
            await ban(store, "postgresql://127.0.0.1:1/nowhere", ada)
        assert await can_act_as_admin(store, ada)
