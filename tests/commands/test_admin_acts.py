"""What an admin does to an account: points given and taken with a reason, banning and unbanning."""

import asyncio

import pytest

from huajuan.commands.adjust_points import adjust_points
from huajuan.commands.ban_account import ban_account
from huajuan.commands.login import login
from huajuan.commands.unban_account import unban_account
from huajuan.domain.refusals import AccountBanned, AlreadyBanned, NotEnoughPoints, WrongPassword
from huajuan.event_store.limits import LogLimits
from huajuan.event_store.request_context import calling
from tests.commands.people import a_person, account_of
from tests.event_store.studio import log_rows
from tests.services import desk_on, until


async def test_twenty_admins_at_once_take_no_more_than_there_is(database_url: str) -> None:
    async with desk_on(database_url) as desk:
        ann = await a_person(desk, "ann", 1)
        tries = (adjust_points(desk.store, ann, -10, "a mistake") for _ in range(20))
        done = await asyncio.gather(*tries, return_exceptions=True)
        assert sum(isinstance(one, NotEnoughPoints) for one in done) == 10
        assert (await account_of(desk, ann)).balance == 0
        await adjust_points(desk.store, ann, -5, "theft", forced=True)
        await adjust_points(desk.store, ann, 50, "sorry")
        assert (await account_of(desk, ann)).balance == 45


async def test_who_acted_is_on_record(database_url: str) -> None:
    async with desk_on(database_url) as desk:
        ann, root = await a_person(desk, "ann"), await a_person(desk, "root")
        with calling(actor=root):
            await adjust_points(desk.store, ann, 50, "sorry")
        (state,) = log_rows(database_url, "convert_from(state, 'UTF8')")[-1]
        assert str(root) in state
        assert "sorry" not in state


async def test_a_banned_account_has_no_tokens_anywhere_until_it_is_unbanned(database_url: str) -> None:
    # A snapshot every two events: a ban outlives being read from one.
    few = LogLimits(snapshot_every_events=2)
    async with desk_on(database_url, log=few) as here, desk_on(database_url, log=few) as there:
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

        async def is_out() -> bool:
            return not await is_admitted()

        await until(is_out)
    async with desk_on(database_url, log=few) as desk:
        assert (await account_of(desk, ann)).is_banned
        await unban_account(desk.store, ann, "forgiven")
        assert await desk.sessions.admits("a token", ann, 1)
        await login(desk.store, desk.passwords, "ann", "secret")
