"""The acts of admins on accounts: adjusting points, banning and unbanning."""

import asyncio

import pytest

from huajuan.commands.accounts import login
from huajuan.commands.moderation import adjust_points, ban_account, unban_account
from huajuan.domain.refusals import AccountBanned, AlreadyBanned, NotEnoughPoints, WrongPassword
from huajuan.event_store.request_context import with_request_context
from huajuan.event_store.writer import EventStoreLimits
from tests.commands.people import a_person, account_of
from tests.event_store.helpers import log_rows
from tests.services import services_on, until


async def test_20_concurrent_deductions_do_not_overdraw(database_url: str) -> None:
    async with services_on(database_url) as services:
        ann = await a_person(services, "ann", 1)
        deductions = (adjust_points(services.store, ann, -10, "a mistake") for _ in range(20))
        done = await asyncio.gather(*deductions, return_exceptions=True)
        assert sum(isinstance(one, NotEnoughPoints) for one in done) == 10
        assert (await account_of(services, ann)).balance == 0
        await adjust_points(services.store, ann, -5, "theft", forced=True)
        await adjust_points(services.store, ann, 50, "sorry")
        assert (await account_of(services, ann)).balance == 45


async def test_the_actor_is_recorded_and_the_reason_encrypted(database_url: str) -> None:
    async with services_on(database_url) as services:
        ann, root = await a_person(services, "ann"), await a_person(services, "root")
        with with_request_context(actor=root):
            await adjust_points(services.store, ann, 50, "sorry")
        (state,) = log_rows(database_url, "convert_from(state, 'UTF8')")[-1]
        assert str(root) in state
        assert "sorry" not in state


async def test_a_banned_account_is_refused_in_every_process_until_unbanned(database_url: str) -> None:
    # A snapshot every two events: the ban is read from a snapshot.
    few = EventStoreLimits(snapshot_every_events=2)
    async with services_on(database_url, log=few) as here, services_on(database_url, log=few) as there:
        ann = await a_person(here, "ann")

        async def is_admitted() -> bool:
            return await there.sessions.admits("a token", ann, 1)

        assert await is_admitted()
        await ban_account(here.store, ann, "spam")
        with pytest.raises(AlreadyBanned):
            await ban_account(there.store, ann, "spam")
        with pytest.raises(AccountBanned):
            await login(here.store, here.passwords, "ann", "secret")
        with pytest.raises(WrongPassword):
            await login(here.store, here.passwords, "ann", "a guess")

        async def is_refused() -> bool:
            return not await is_admitted()

        await until(is_refused)
    async with services_on(database_url, log=few) as services:
        assert (await account_of(services, ann)).is_banned
        await unban_account(services.store, ann, "forgiven")
        assert await services.sessions.admits("a token", ann, 1)
        await login(services.store, services.passwords, "ann", "secret")
