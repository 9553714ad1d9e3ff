"""A proxy that lets through all but what its painter can draw: asked ever more seldom, and drawn by all the same."""

import asyncio

import pytest

from huajuan.inference_client import Graph, ServerUnavailable
from huajuan.jobs.compatibility import keep_fitting
from huajuan.jobs.limits import DispatchLimits
from huajuan.jobs.workflows import Workflows
from tests.commands.people import a_person, a_picture
from tests.jobs.fake_host import FakeHost, painters_of
from tests.jobs.test_workflows import HASTY, SHORT, Shelf
from tests.services import desk_on, until


class Hidden(FakeHost):
    """A proxy before it lets all through but what it can draw."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    async def misfits(self, _: Graph) -> list[str]:
        self.asked += 1
        raise ServerUnavailable("404")


async def test_a_proxy_that_never_says_is_asked_ever_more_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses, enough, host = list[float](), asyncio.Event(), Hidden()

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 7:
            enough.set()
            await asyncio.Event().wait()

    limits = DispatchLimits(fitting_pause_seconds=1, fitting_pause_seconds_max=10)
    async with painters_of({"hidden": host}, SHORT) as painters:
        with monkeypatch.context() as patched:
            patched.setattr("huajuan.jobs.compatibility.asyncio.sleep", sleep)
            trying = asyncio.create_task(keep_fitting(painters, Workflows(Shelf(), ""), limits))
            await enough.wait()
        trying.cancel()
    assert (pauses, host.asked) == ([1, 2, 4, 8, 10, 10, 10], 7)


async def test_what_a_painter_hides_does_not_keep_it_from_drawing(database_url: str) -> None:
    host = Hidden()
    async with desk_on(database_url, host, dispatch=HASTY) as desk:
        await until(lambda: host.asked > 1)
        assert (await a_picture(desk, await a_person(desk, check_ins=1))).picture


async def test_a_painter_that_lacks_something_is_asked_as_often_as_at_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Somebody may be about to give it that."""
    pauses, enough, host = list[float](), asyncio.Event(), FakeHost()
    host.problems = ["node 1 (CheckpointLoaderSimple): the server has no model"]

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 5:
            enough.set()
            await asyncio.Event().wait()

    limits = DispatchLimits(fitting_pause_seconds=1, fitting_pause_seconds_max=10)
    async with painters_of({"host": host}, SHORT) as painters:
        with monkeypatch.context() as patched:
            patched.setattr("huajuan.jobs.compatibility.asyncio.sleep", sleep)
            trying = asyncio.create_task(keep_fitting(painters, Workflows(Shelf(), ""), limits))
            await enough.wait()
        trying.cancel()
    assert pauses == [1] * 5
