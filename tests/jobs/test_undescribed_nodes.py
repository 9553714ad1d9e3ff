"""A server whose node descriptions are hidden: checks become rare, and it draws nevertheless."""

import asyncio

import pytest

from huajuan.inference_client import Graph, ServerUnavailable
from huajuan.jobs.queue import DispatchLimits
from huajuan.jobs.workflows import WorkflowStore, run_compatibility_checks
from tests.commands.people import a_person, a_picture
from tests.jobs.fake_server import FakeInferenceServer, server_pool_of
from tests.jobs.test_workflows import HASTY, SHORT, Shelf
from tests.services import services_on, until


class Hidden(FakeInferenceServer):
    """A proxy hides its node descriptions."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    async def check_compatibility(self, _: Graph) -> list[str]:
        self.asked += 1
        raise ServerUnavailable("404")


async def test_checks_of_a_server_without_descriptions_become_rare(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses, enough, host = list[float](), asyncio.Event(), Hidden()

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 7:
            enough.set()
            await asyncio.Event().wait()

    limits = DispatchLimits(compatibility_retry_seconds=1, compatibility_retry_seconds_max=10)
    async with server_pool_of({"hidden": host}, SHORT) as servers:
        with monkeypatch.context() as patched:
            patched.setattr("huajuan.jobs.workflows.asyncio.sleep", sleep)
            trying = asyncio.create_task(
                run_compatibility_checks(servers, WorkflowStore(Shelf(), ""), limits)
            )
            await enough.wait()
        trying.cancel()
    assert (pauses, host.asked) == ([1, 2, 4, 8, 10, 10, 10], 7)


async def test_a_server_without_descriptions_draws(database_url: str) -> None:
    host = Hidden()
    async with services_on(database_url, host, dispatch=HASTY) as services:
        await until(lambda: host.asked > 1)
        assert (await a_picture(services, await a_person(services, check_ins=1))).picture


async def test_an_incompatible_server_is_checked_at_the_initial_interval(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A missing model may be installed at any time."""
    pauses, enough, host = list[float](), asyncio.Event(), FakeInferenceServer()
    host.problems = ["node 1 (CheckpointLoaderSimple): the server has no model"]

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 5:
            enough.set()
            await asyncio.Event().wait()

    limits = DispatchLimits(compatibility_retry_seconds=1, compatibility_retry_seconds_max=10)
    async with server_pool_of({"host": host}, SHORT) as servers:
        with monkeypatch.context() as patched:
            patched.setattr("huajuan.jobs.workflows.asyncio.sleep", sleep)
            trying = asyncio.create_task(
                run_compatibility_checks(servers, WorkflowStore(Shelf(), ""), limits)
            )
            await enough.wait()
        trying.cancel()
    assert pauses == [1] * 5
