"""Compatibility checks of servers: when they run, and what they log."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from huajuan.inference_client import ClientLimits, ServerUnavailable
from huajuan.jobs.servers import ServerPool, open_server_pool
from huajuan.jobs.workflows import WorkflowStore, run_compatibility_checks
from tests.inference_client.own_workflows import own_workflow
from tests.jobs.conftest import Pair
from tests.jobs.fake_server import FakeInferenceServer, UnreachableServer, server_pool_of
from tests.jobs.test_workflows import HASTY, SHORT, Shelf, logging
from tests.services import until

PROBLEMS = ["node 5 (KSampler): the server has no such kind of node"]
MISFIT = ("workflow incompatible with the inference server", "error")
UNTRIED = ("workflow not checked: inference server unavailable", "warning")
MENDED = ("workflow compatible with the inference server now", "info")


class Counting(FakeInferenceServer):
    """Counts the checks."""

    def __init__(self, *problems: str) -> None:
        super().__init__()
        self.problems = list(problems)
        self.asked = 0

    async def check_compatibility(self, workflow: Any) -> list[str]:
        self.asked += 1
        return await super().check_compatibility(workflow)


@asynccontextmanager
async def fitting(servers: ServerPool) -> AsyncIterator[None]:
    workflows = WorkflowStore(Shelf(), "", own_workflow())
    trying = asyncio.create_task(run_compatibility_checks(servers, workflows, HASTY))
    yield
    trying.cancel()
    with suppress(asyncio.CancelledError):
        await trying


def said(logs: list[Any]) -> list[tuple[str, str, str]]:
    return [(line["server"], line["event"], line["log_level"]) for line in logs]


async def test_each_server_is_checked_once_it_answers() -> None:
    good, bad, late = FakeInferenceServer(), Counting(*PROBLEMS), UnreachableServer(ServerUnavailable("down"))
    hosts = {"good": good, "bad": bad, "late": late}
    async with server_pool_of(hosts, SHORT) as servers, logging() as logs, fitting(servers):
        await until(lambda: len(logs) == 2)
        assert servers.all["late"].problems is None
        late.check_compatibility = good.check_compatibility  # type: ignore[method-assign]
        await until(lambda: servers.all["late"].problems == [])
        await until(lambda: bad.asked > 3)
    assert sorted(said(logs)) == [("bad", *MISFIT), ("late", *UNTRIED)], "once each"
    assert [line["problems"] for line in logs if line["server"] == "bad"] == [PROBLEMS]
    assert [servers.all[name].problems for name in ("good", "bad")] == [[], PROBLEMS]


async def test_a_server_added_later_is_checked() -> None:
    hosts = {"first": FakeInferenceServer()}
    async with server_pool_of(hosts, SHORT) as servers, logging() as logs, fitting(servers):
        await until(lambda: servers.all["first"].problems == [])
        hosts["second"] = Counting(*PROBLEMS)
        await servers.update(["first", "second"])
        await until(lambda: len(logs) == 1)
    assert said(logs) == [("second", *MISFIT)]


async def test_a_repaired_server_is_logged_as_compatible_and_not_checked_again() -> None:
    host = Counting(*PROBLEMS)
    async with server_pool_of({"host": host}, SHORT) as servers, logging() as logs, fitting(servers):
        await until(lambda: len(logs) == 1)
        host.problems = []
        await until(lambda: len(logs) == 2)
        asked = host.asked
        await asyncio.sleep(5 * HASTY.compatibility_retry_seconds_max)
        assert host.asked == asked
    assert said(logs) == [("host", *MISFIT), ("host", *MENDED)]


async def test_a_removed_server_is_not_checked_until_it_is_added_again() -> None:
    host = Counting(*PROBLEMS)
    async with server_pool_of({"host": host}, SHORT) as servers, logging() as logs, fitting(servers):
        await until(lambda: len(logs) == 1)
        await servers.update([])
        await asyncio.sleep(5 * HASTY.compatibility_retry_seconds_max)
        asked = host.asked
        await asyncio.sleep(5 * HASTY.compatibility_retry_seconds_max)
        assert host.asked == asked
        await servers.update(["host"])
        await until(lambda: len(logs) == 2)
    assert said(logs) == [("host", *MISFIT)] * 2


async def test_the_configured_checkpoint_is_checked_at_each_server(pair: Pair) -> None:
    """The other placeholders stay."""
    async with open_server_pool([pair[0].url], ClientLimits(), SHORT) as servers, logging() as logs:
        trying = asyncio.create_task(
            run_compatibility_checks(servers, WorkflowStore(Shelf()), SHORT, "nowhere.safetensors")
        )
        await until(lambda: len(logs) == 1)
        trying.cancel()
    ((problem,),) = [line["problems"] for line in logs]
    assert problem.startswith(
        "node checkpoint (CheckpointLoaderSimple), input ckpt_name: the server has no 'nowhere.safetensors'"
    )
