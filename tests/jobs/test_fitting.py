"""Whether the workflow fits a painter is told when it answers, whenever it came, and when that changes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from huajuan.inference_client import Limits, ServerUnavailable
from huajuan.jobs.compatibility import keep_fitting
from huajuan.jobs.servers import Painters, open_painters
from huajuan.jobs.workflows import Workflows
from tests.inference_client.own_workflows import own_workflow
from tests.jobs.conftest import Pair
from tests.jobs.fake_host import FakeHost, Unreachable, painters_of
from tests.jobs.test_workflows import HASTY, SHORT, Shelf, logging
from tests.services import until

PROBLEMS = ["node 5 (KSampler): the server has no such kind of node"]
MISFIT = ("workflow does not fit the painter", "error")
UNTRIED = ("workflow not tried: painter unavailable", "warning")
MENDED = ("workflow fits the painter now", "info")


class Counting(FakeHost):
    """Counts how often it is asked."""

    def __init__(self, *problems: str) -> None:
        super().__init__()
        self.problems = list(problems)
        self.asked = 0

    async def misfits(self, workflow: Any) -> list[str]:
        self.asked += 1
        return await super().misfits(workflow)


@asynccontextmanager
async def fitting(painters: Painters) -> AsyncIterator[None]:
    workflows = Workflows(Shelf(), "", own_workflow())
    trying = asyncio.create_task(keep_fitting(painters, workflows, HASTY))
    yield
    trying.cancel()
    with suppress(asyncio.CancelledError):
        await trying


def said(logs: list[Any]) -> list[tuple[str, str, str]]:
    return [(line["host"], line["event"], line["log_level"]) for line in logs]


async def test_each_host_is_tried_once_it_answers() -> None:
    good, bad, late = FakeHost(), Counting(*PROBLEMS), Unreachable(ServerUnavailable("down"))
    hosts = {"good": good, "bad": bad, "late": late}
    async with painters_of(hosts, SHORT) as painters, logging() as logs, fitting(painters):
        await until(lambda: len(logs) == 2)
        assert painters.all["late"].problems is None
        late.misfits = good.misfits  # type: ignore[method-assign]
        await until(lambda: painters.all["late"].problems == [])
        await until(lambda: bad.asked > 3)
    assert sorted(said(logs)) == [("bad", *MISFIT), ("late", *UNTRIED)], "once each"
    assert [line["problems"] for line in logs if line["host"] == "bad"] == [PROBLEMS]
    assert [painters.all[name].problems for name in ("good", "bad")] == [[], PROBLEMS]


async def test_a_painter_that_comes_later_is_tried_as_well() -> None:
    hosts = {"first": FakeHost()}
    async with painters_of(hosts, SHORT) as painters, logging() as logs, fitting(painters):
        await until(lambda: painters.all["first"].problems == [])
        hosts["second"] = Counting(*PROBLEMS)
        await painters.become(["first", "second"])
        await until(lambda: len(logs) == 1)
    assert said(logs) == [("second", *MISFIT)]


async def test_one_that_got_what_it_lacked_is_said_to_fit_and_left_alone() -> None:
    host = Counting(*PROBLEMS)
    async with painters_of({"host": host}, SHORT) as painters, logging() as logs, fitting(painters):
        await until(lambda: len(logs) == 1)
        host.problems = []
        await until(lambda: len(logs) == 2)
        asked = host.asked
        await asyncio.sleep(5 * HASTY.fitting_pause_seconds_max)
        assert host.asked == asked
    assert said(logs) == [("host", *MISFIT), ("host", *MENDED)]


async def test_one_that_is_to_draw_no_more_is_asked_no_more_and_tried_anew_when_it_comes_back() -> None:
    host = Counting(*PROBLEMS)
    async with painters_of({"host": host}, SHORT) as painters, logging() as logs, fitting(painters):
        await until(lambda: len(logs) == 1)
        await painters.become([])
        await asyncio.sleep(5 * HASTY.fitting_pause_seconds_max)
        asked = host.asked
        await asyncio.sleep(5 * HASTY.fitting_pause_seconds_max)
        assert host.asked == asked
        await painters.become(["host"])
        await until(lambda: len(logs) == 2)
    assert said(logs) == [("host", *MISFIT)] * 2


async def test_the_checkpoint_of_the_settings_is_looked_for_at_each_host(pair: Pair) -> None:
    """With the other holes still open."""
    async with open_painters([pair[0].url], Limits(), SHORT) as painters, logging() as logs:
        trying = asyncio.create_task(keep_fitting(painters, Workflows(Shelf()), SHORT, "nowhere.safetensors"))
        await until(lambda: len(logs) == 1)
        trying.cancel()
    ((problem,),) = [line["problems"] for line in logs]
    assert problem.startswith(
        "node checkpoint (CheckpointLoaderSimple), input ckpt_name: the server has no 'nowhere.safetensors'"
    )
