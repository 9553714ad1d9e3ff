"""The last admin is spared, whoever else is banned at the same time at other servers."""

import asyncio
from uuid import UUID

import psycopg
import pytest

from huajuan.commands.ban_account import ban_account
from huajuan.commands.grant_admin import grant_admin
from huajuan.commands.last_admin import can_act_as_admin, sparing_last_admin
from huajuan.domain.account import Account
from huajuan.domain.refusals import LastAdmin
from huajuan.event_store.errors import LogBusy, LogUnavailable
from huajuan.event_store.loader import Stream
from huajuan.event_store.store import EventStore
from tests.event_store.studio import opened, register
from tests.services import until

SECONDS_MAX = 20
_LOCKS = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted = %s AND objid = hashtext('huajuan admins')::bit(32)::int8::oid"


def lockers(dsn: str, *, granted: bool) -> list[int]:
    with psycopg.connect(dsn) as connection:
        return [row[0] for row in connection.execute(_LOCKS, (granted,)).fetchall()]


async def admin(store: EventStore, name: str) -> UUID:
    account_id = await register(store, name)
    await grant_admin(store, account_id, "runs it")
    return account_id


async def ban(store: EventStore, dsn: str, account_id: UUID) -> None:
    async with sparing_last_admin(store, dsn, account_id, SECONDS_MAX):
        await ban_account(store, account_id, "spam")


async def test_one_ban_of_an_admin_waits_for_another(database_url: str) -> None:
    async with opened(database_url) as here, opened(database_url) as there:
        ada, ben = await admin(here, "ada"), await admin(here, "ben")
        async with sparing_last_admin(here, database_url, ada, SECONDS_MAX):
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


async def test_who_is_no_admin_waits_for_nobody(database_url: str) -> None:
    async with opened(database_url) as store:
        ada, ann = await admin(store, "ada"), await register(store, "ann")
        await admin(store, "ben")
        async with sparing_last_admin(store, database_url, ada, SECONDS_MAX):
            await ban(store, "postgresql://127.0.0.1:1/nowhere", ann)


async def test_a_lock_that_is_lost_makes_no_error_of_what_was_done(database_url: str) -> None:
    async with opened(database_url) as store:
        ada = await admin(store, "ada")
        await admin(store, "ben")
        async with sparing_last_admin(store, database_url, ada, SECONDS_MAX):
            await ban_account(store, ada, "spam")
            with psycopg.connect(database_url) as knife:
                for pid in lockers(database_url, granted=True):
                    knife.execute("SELECT pg_terminate_backend(%s)", (pid,))
            await until(lambda: not lockers(database_url, granted=True))
        assert not await can_act_as_admin(store, ada)


async def test_who_waits_for_too_long_is_told_so(database_url: str) -> None:
    async with opened(database_url) as store:
        ada, ben = await admin(store, "ada"), await admin(store, "ben")
        async with sparing_last_admin(store, database_url, ada, SECONDS_MAX):
            with pytest.raises(LogBusy):
                async with sparing_last_admin(store, database_url, ben, 0.2):
                    pass
        with pytest.raises(LogUnavailable):
            await ban(store, "postgresql://127.0.0.1:1/nowhere", ada)
        assert await can_act_as_admin(store, ada)
