"""Retries: at another server, at most N attempts, and then the points are returned."""

import asyncio
from uuid import UUID

import pytest

from huajuan.demo_comfyui.faults import Mode
from huajuan.inference_client import (
    ComfyUI,
    DrawingFailed,
    InferenceError,
    JobLost,
    JobState,
    JobTimeout,
    OutcomeUnknown,
    ServerUnavailable,
    WorkflowRejected,
)
from huajuan.jobs.queue import DispatchLimits, JobQueue
from huajuan.runtime.periodic import cancel_tasks
from tests.commands.people import a_person
from tests.inference_client.conftest import begun, drawing
from tests.jobs.conftest import Pair
from tests.jobs.fake_server import FailingServer, FakeInferenceServer, VanishedServer
from tests.jobs.outcome import BRISK, IMPATIENT, asked, held_back, outcome
from tests.services import services_on, services_with_servers, until

BAD, GOOD = "http://fake-0", "http://fake-1"
FAILURES = [
    JobLost("restarted"), JobTimeout("hangs", worker_stuck=True), ServerUnavailable("no"),
    OutcomeUnknown("silence"), DrawingFailed("out of memory"), WorkflowRejected("no such model"),
]  # fmt: skip


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
async def test_another_server_draws_a_failed_job(database_url: str, failure: InferenceError) -> None:
    bad, good = FailingServer(failure), FakeInferenceServer()
    async with services_on(database_url, bad, good, dispatch=BRISK) as services:
        ann = await a_person(services, check_ins=1)
        async with held_back(services, GOOD):
            image_id = await asked(services, ann)
            await until(lambda: bool(bad.drawn))
        ended = await outcome(services, ann, image_id)
        begun = 1 if isinstance(failure, WorkflowRejected) else 2  # a rejection uses no attempt
        assert (ended.topic, ended.attempts) == ("image.drawn", begun)
        assert (len(bad.drawn), len(good.drawn)) == (1, 1)


@pytest.mark.parametrize("hosts", [1, 2, 5])
@pytest.mark.parametrize("failure", FAILURES[:4], ids=lambda failure: type(failure).__name__)
async def test_a_failing_job_is_attempted_n_times(
    database_url: str, hosts: int, failure: InferenceError
) -> None:
    servers = [FailingServer(failure) for _ in range(hosts)]
    async with services_on(database_url, *servers, dispatch=BRISK) as services:
        ann = await a_person(services, check_ins=1)
        ended = await outcome(services, ann, await asked(services, ann))
        assert (ended.topic, ended.attempts) == ("image.drawing_failed", 3)
        assert sum(len(server.drawn) for server in servers) == 3


async def test_rejections_use_no_attempts_while_the_other_server_is_busy(
    database_url: str,
) -> None:
    bad, good = FailingServer(WorkflowRejected("no such model")), FakeInferenceServer()
    good.gate.clear()
    patient = DispatchLimits(claim_interval_seconds=0.02, cooldown_seconds_min=0.02, jobs_per_server_max=1)
    async with services_on(database_url, bad, good, dispatch=patient) as services:
        ann, ben = await a_person(services, check_ins=1), await a_person(services, "ben", check_ins=1)
        first = await asked(services, ann)
        await until(lambda: bool(good.drawn))
        second = await asked(services, ben)
        await until(lambda: second in {drawing.prompt_id for drawing in bad.drawn})
        await asyncio.sleep(0.3)  # time for two more attempts
        good.gate.set()
        assert (await outcome(services, ben, second, pictures=None)).topic == "image.drawn"
        assert (await outcome(services, ann, first, pictures=1)).topic == "image.drawn"
        assert len(bad.drawn) <= 2


async def test_an_unreachable_server_uses_no_attempt(database_url: str) -> None:
    """A started job is not sent to a server that does not answer whether it has it."""
    silent = [VanishedServer(ServerUnavailable("down")) for _ in range(6)]
    good = FakeInferenceServer()
    async with services_on(database_url, *silent, good, dispatch=BRISK) as services:
        ann = await a_person(services, check_ins=1)
        async with held_back(services, "http://fake-6"):
            image_id = await asked(services, ann)
            await until(lambda: len(services.job_runner.servers) < 7)
        ended = await outcome(services, ann, image_id)
        assert (ended.topic, ended.attempts) == ("image.drawn", 2)


async def test_a_requeued_job_may_be_claimed_before_requeue_returns(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = FailingServer(JobLost("restarted")), FakeInferenceServer()
    real = JobQueue.requeue

    async def requeue(queue: JobQueue, image_id: UUID, **how: object) -> None:
        await real(queue, image_id, **how)  # type: ignore[arg-type]
        await until(lambda: bool(good.drawn))

    monkeypatch.setattr(JobQueue, "requeue", requeue)
    async with services_on(database_url, bad, good, dispatch=BRISK) as services:
        ann = await a_person(services, check_ins=1)
        async with held_back(services, GOOD):
            image_id = await asked(services, ann)
            await until(lambda: bool(bad.drawn))
        assert (await outcome(services, ann, image_id)).topic == "image.drawn"


async def test_a_job_behind_a_dead_worker_goes_to_another_server(database_url: str, pair: Pair) -> None:
    """The worker died in the job of another client, so ours does not start there."""
    dead, good = pair
    dead.fault(Mode.ZOMBIE)
    async with ComfyUI(dead.url, limits=IMPATIENT) as other:
        await cancel_tasks([await begun(other, drawing(), JobState.RUNNING)])
    async with services_with_servers(
        database_url, dead.url, good.url, dispatch=BRISK, painter=IMPATIENT
    ) as services:
        ann = await a_person(services, check_ins=1)
        async with held_back(services, good.url):
            image_id = await asked(services, ann)
            await until(lambda: len(dead.demo.jobs.pending) == 1)
        ended = await outcome(services, ann, image_id)
        assert (ended.topic, ended.attempts) == ("image.drawn", 2)
        assert not services.job_runner.servers.all[dead.url].is_circuit_closed
        assert (dead.demo.jobs.runs[str(image_id)], len(dead.demo.jobs.pending)) == (0, 0)
