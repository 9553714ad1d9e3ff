"""Whoever waits for an end hears of it: from another process, or by looking, if nobody says anything."""

import asyncio

import msgspec
import pytest

from huajuan.jobs.dispatcher import Dispatcher
from tests.commands.people import a_person
from tests.jobs.fake_host import FakeHost
from tests.jobs.outcome import BRISK, asked, held_back
from tests.services import desk_on, until

NEVER_LOOKS = msgspec.structs.replace(BRISK, wait_poll_seconds=3600)
LOOKS = msgspec.structs.replace(BRISK, wait_poll_seconds=0.05)


@pytest.mark.parametrize(("limits", "hears"), [(NEVER_LOOKS, True), (LOOKS, False)], ids=["told", "looking"])
async def test_an_end_in_another_process_is_heard_of(
    database_url: str, monkeypatch: pytest.MonkeyPatch, limits: object, hears: bool
) -> None:
    if not hears:
        monkeypatch.setattr(Dispatcher, "hear", lambda *_: None)
    idle, draws = FakeHost(), FakeHost()
    draws.gate.clear()
    async with desk_on(database_url, idle, dispatch=limits) as here, desk_on(database_url, draws) as there:
        async with held_back(here, "http://fake-0"):
            image_id = await asked(here, await a_person(here, check_ins=1))
            waiting = [asyncio.create_task(here.room.endings.of(image_id)) for _ in range(3)]
            await until(lambda: bool(draws.drawn))
            leaving = waiting.pop()
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)
            draws.gate.set()
            for ending in await asyncio.wait_for(asyncio.gather(*waiting), 30):
                assert (bool(ending.picture), ending.balance) == (True, 80)
            assert (await there.room.endings.of(image_id)).picture
        assert (here.room.endings._waiting, there.room.endings._waiting) == ({}, {})
        assert idle.drawn == []
