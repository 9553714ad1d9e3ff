"""Asking for a picture: what is refused before anything is charged, and what waits in vain."""

import asyncio
from uuid import UUID

import pytest

from huajuan.commands.erase_account import erase_account
from huajuan.domain.refusals import NotEnoughPoints
from huajuan.http.services import Desk
from huajuan.inference_client import ServerUnavailable
from huajuan.jobs.errors import NobodyDraws, QueueFull
from huajuan.jobs.limits import DispatchLimits
from tests.commands.people import a_person, a_picture, account_of
from tests.commands.test_generate_image import QUICK, no_leases
from tests.jobs.fake_host import FakeHost, Vanished
from tests.services import desk_on, until


async def test_no_host_at_all_returns_the_points_and_then_takes_none(database_url: str) -> None:
    async with desk_on(database_url, Vanished(ServerUnavailable("down")), dispatch=QUICK) as desk:
        ann = await a_person(desk, check_ins=1)
        ending = await a_picture(desk, ann)
        assert (ending.reason, ending.balance) == ("no painter could be reached", 100)
        with pytest.raises(NobodyDraws):
            await a_picture(desk, ann)
        assert (await account_of(desk, ann)).balance == 100
        await until(lambda: no_leases(desk))


async def test_what_an_erased_account_still_waited_for_is_not_drawn(database_url: str) -> None:
    host = FakeHost()
    host.gate.clear()
    async with desk_on(database_url, host, dispatch=DispatchLimits(jobs_of_host_max=1)) as desk:
        ann, ben = await a_person(desk, check_ins=1), await a_person(desk, "ben", check_ins=1)
        drawing = asyncio.create_task(a_picture(desk, ben))
        await until(lambda: bool(host.drawn))
        waiting = asyncio.create_task(a_picture(desk, ann))
        await until(lambda: holds(desk, ann))
        await erase_account(desk.store, desk.erasures, ann)
        host.gate.set()
        assert (await waiting).reason == "the account was erased"
        assert (await drawing).picture
        assert len(host.drawn) == 1
        await until(lambda: no_leases(desk))


async def holds(desk: Desk, account_id: UUID) -> bool:
    return bool((await account_of(desk, account_id)).held)


async def test_who_cannot_pay_is_told_so_before_anything_else(database_url: str) -> None:
    async with desk_on(database_url, Vanished(ServerUnavailable("down")), dispatch=QUICK) as desk:
        await a_picture(desk, await a_person(desk, check_ins=1))
        with pytest.raises(NotEnoughPoints):
            await a_picture(desk, await a_person(desk, "ben"))


@pytest.mark.parametrize(
    "limits", [DispatchLimits(jobs_of_account_max=1), DispatchLimits(jobs_waiting_max=1)]
)
async def test_the_queue_is_bounded_and_a_full_one_charges_nothing(
    database_url: str, limits: DispatchLimits
) -> None:
    host = FakeHost()
    host.gate.clear()
    async with desk_on(database_url, host, dispatch=limits) as desk:
        ann = await a_person(desk, check_ins=1)
        first = asyncio.create_task(a_picture(desk, ann))
        await until(lambda: bool(host.drawn))
        with pytest.raises(QueueFull):
            await a_picture(desk, ann)
        host.gate.set()
        assert (await first).picture
        assert (await account_of(desk, ann)).balance == 80
