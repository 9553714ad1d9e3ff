"""Waiters for the end of a job are woken by a notification of another process, or by polling."""

import asyncio

import msgspec
import pytest

from huajuan.jobs.dispatcher import Dispatcher
from tests.commands.people import a_person
from tests.jobs.fake_server import FakeInferenceServer
from tests.jobs.outcome import BRISK, asked, held_back
from tests.services import services_on, until

NEVER_LOOKS = msgspec.structs.replace(BRISK, wait_poll_seconds=3600)
LOOKS = msgspec.structs.replace(BRISK, wait_poll_seconds=0.05)


@pytest.mark.parametrize(
    ("limits", "hears"), [(NEVER_LOOKS, True), (LOOKS, False)], ids=["notified", "polling"]
)
async def test_the_end_of_a_job_in_another_process_wakes_the_waiter(
    database_url: str, monkeypatch: pytest.MonkeyPatch, limits: object, hears: bool
) -> None:
    if not hears:
        monkeypatch.setattr(Dispatcher, Dispatcher.on_notification.__name__, lambda *_: None)
    idle, draws = FakeInferenceServer(), FakeInferenceServer()
    draws.gate.clear()
    async with (
        services_on(database_url, idle, dispatch=limits) as here,
        services_on(database_url, draws) as there,
    ):
        async with held_back(here, "http://fake-0"):
            image_id = await asked(here, await a_person(here, check_ins=1))
            waiting = [asyncio.create_task(here.job_runner.completions.wait(image_id)) for _ in range(3)]
            await until(lambda: bool(draws.drawn))
            leaving = waiting.pop()
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)
            draws.gate.set()
            for ending in await asyncio.wait_for(asyncio.gather(*waiting), 30):
                assert (bool(ending.picture), ending.balance) == (True, 80)
            assert (await there.job_runner.completions.wait(image_id)).picture
        assert (here.job_runner.completions._waiting, there.job_runner.completions._waiting) == ({}, {})
        assert idle.drawn == []
