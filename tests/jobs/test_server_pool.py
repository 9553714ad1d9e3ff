"""A pool with a failing server draws all jobs, and failing jobs of one account open no circuit."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from structlog.testing import capture_logs

from huajuan.commands.generate_image import request_image
from huajuan.demo_comfyui.faults import Mode
from huajuan.domain.image import Image, ImageParameters
from huajuan.http.services import Services
from huajuan.inference_client import (
    Drawing,
    DrawingFailed,
    Drawn,
    JobLost,
    JobState,
    OutcomeUnknown,
    WorkflowRejected,
)
from huajuan.inference_client.client import OnAccepted
from huajuan.inference_client.results import OnProgress
from huajuan.jobs.queue import JobQueue
from huajuan.jobs.servers import ServerState
from huajuan.postgres.statements import Statements
from tests.commands.people import a_person, account_of
from tests.jobs.conftest import Pair
from tests.jobs.fake_server import FailingServer, FakeInferenceServer, UnreachableServer
from tests.jobs.outcome import BRISK, COST, IMPATIENT, SMALL, asked, held_back, image_of, outcome, rows
from tests.services import services_on, services_with_servers, until

JOBS = 25
ROOMY = msgspec.structs.replace(BRISK, jobs_per_account_max=JOBS)
BAD = ImageParameters("bad", 48, 48, 3, "DDIM", "7")
REFUSED = WorkflowRejected("the server refused the workflow", "no node Foo")
PROBLEMS = ["node 5 (KSampler): the server has no such kind of node"]


class Picky(FakeInferenceServer):
    """Fails in every job with one prompt."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    async def draw(
        self,
        drawing: Drawing,
        on_progress: OnProgress | None = None,
        on_accepted: OnAccepted | None = None,
    ) -> Drawn:
        if drawing.prompt == BAD.prompt:
            if on_accepted:
                await on_accepted()
            raise self.error
        return await super().draw(drawing, on_progress, on_accepted)


async def jobs_of(services: Services, accounts: int, jobs: int) -> dict[UUID, UUID]:
    """Jobs of several accounts in turn."""
    names = [await a_person(services, f"person{n}", check_ins=jobs) for n in range(accounts)]
    return {await asked(services, names[n % accounts]): names[n % accounts] for n in range(jobs)}


async def ended(services: Services, jobs: Any) -> list[Image]:
    async def are_over() -> bool:
        return not await rows(services, "SELECT 1 FROM operations.job_leases")

    await until(are_over)
    return [await image_of(services, image_id) for image_id in jobs]


@pytest.mark.parametrize(
    ("mode", "jobs_max", "accounts", "state", "attempts_max"),
    [
        (Mode.MISSING_NODE, 10, 1, ServerState.UNFIT, 1),
        (Mode.MISSING_NODE, JOBS, 5, ServerState.UNFIT, 1),
        (Mode.EXECUTION_ERROR, 10, 1, ServerState.COOLDOWN, 2),
        (Mode.EXECUTION_ERROR, JOBS, 5, ServerState.COOLDOWN, 2),
        (Mode.NO_OUTPUTS, 10, 5, ServerState.COOLDOWN, 2),
        (Mode.SUBMIT_FORBIDDEN, 10, 5, None, 2),
    ],
)
async def test_all_jobs_are_drawn_beside_a_bad_server(
    database_url: str,
    pair: Pair,
    mode: Mode,
    jobs_max: int,
    accounts: int,
    state: ServerState | None,
    attempts_max: int,
) -> None:
    bad, good = pair
    bad.fault(mode, times=None)
    async with services_with_servers(
        database_url, bad.url, good.url, dispatch=ROOMY, painter=IMPATIENT
    ) as services:
        jobs = await jobs_of(services, accounts, jobs_max)
        images = await ended(services, jobs)
        assert [image.failure for image in images] == [None] * jobs_max
        assert max(image.attempts for image in images) <= attempts_max
        for account_id in set(jobs.values()):
            account = await account_of(services, account_id)
            mine = list(jobs.values()).count(account_id)
            assert (account.balance, account.held) == (100 * jobs_max - COST * mine, {})
        server = services.job_runner.servers.all[bad.url]
        assert state in (None, server.state)
        assert server.reason


@pytest.mark.parametrize("error", [DrawingFailed("CUDA error"), JobLost("restarted")])
async def test_a_server_that_comes_back_is_used_again(database_url: str, error: Exception) -> None:
    bad, good = FakeInferenceServer(), FakeInferenceServer()
    bad.failures = [error] * 3
    async with services_on(database_url, bad, good, dispatch=ROOMY) as services:
        server = services.job_runner.servers.all["http://fake-0"]
        images = await ended(services, await jobs_of(services, 3, 9))
        assert [image.failure for image in images] == [None] * 9
        bad.failures = []
        async with held_back(services, "http://fake-1"):
            ann = await a_person(services, check_ins=1)
            drawn = await outcome(services, ann, await asked(services, ann), pictures=None)
            assert (drawn.topic, server.state, server.reason) == ("image.drawn", ServerState.READY, None)


async def test_failing_jobs_of_one_account_open_no_circuit(database_url: str) -> None:
    hosts = [Picky(DrawingFailed("CUDA error")) for _ in range(2)]
    with capture_logs() as logs:
        async with services_on(database_url, *hosts, dispatch=ROOMY) as services:
            eve, ann = [await a_person(services, name, check_ins=JOBS) for name in ("eve", "ann")]
            bad = [await asked(services, eve, BAD) for _ in range(6)]
            good = [await asked(services, ann) for _ in range(6)]
            assert {image.failure for image in await ended(services, good)} == {None}
            images = await ended(services, bad)
            assert {(image.failure, image.attempts) for image in images} == {("CUDA error", 2)}
            assert (await account_of(services, eve)).balance == 100 * JOBS
            assert all(server.is_circuit_closed for server in services.job_runner.servers.all.values())
    assert [line for line in logs if line["event"] == "inference server in cooldown"] == []


async def test_failing_jobs_of_two_accounts_open_no_circuit_for_long(database_url: str) -> None:
    """The failures at the second server close the circuit of the first."""
    hosts = [Picky(DrawingFailed("CUDA error")) for _ in range(2)]
    async with services_on(database_url, *hosts, dispatch=ROOMY) as services:
        people = [await a_person(services, name, check_ins=1) for name in ("eve", "ann")]
        images = await ended(services, [await asked(services, person, BAD) for person in people])
        assert {(image.failure, image.attempts) for image in images} == {("CUDA error", 2)}
        assert [server.cooldown_seconds for server in services.job_runner.servers.all.values()] == [0, 0]


async def test_failures_of_two_accounts_at_the_only_server_open_its_circuit(database_url: str) -> None:
    async with services_on(
        database_url, FailingServer(DrawingFailed("CUDA error", "at 0x1")), dispatch=ROOMY
    ) as services:
        server = services.job_runner.servers.all["http://fake-0"]
        for name, is_open in (("ann", False), ("ben", True)):
            person = await a_person(services, name, check_ins=1)
            assert (await outcome(services, person, await asked(services, person))).reason == "CUDA error"
            assert (server.state is ServerState.COOLDOWN) is is_open
        assert server.reason == "CUDA error"


@pytest.mark.parametrize("hosts", [1, 2, 3])
async def test_a_job_fails_after_each_server_has_rejected_it_once(database_url: str, hosts: int) -> None:
    refusing = [FailingServer(REFUSED) for _ in range(hosts)]
    async with services_on(database_url, *refusing, dispatch=ROOMY) as services:
        ann = await a_person(services, check_ins=1)
        ended = await outcome(services, ann, await asked(services, ann))
        assert (ended.reason, ended.attempts) == (REFUSED.reason, 0)
        assert [len(host.drawn) for host in refusing] == [1] * hosts
        assert {server.state for server in services.job_runner.servers.all.values()} == {ServerState.UNFIT}


async def test_a_server_that_does_not_answer_is_not_waited_for(database_url: str) -> None:
    refusing, away = FailingServer(REFUSED), UnreachableServer(OutcomeUnknown("silence"))
    async with services_on(database_url, refusing, away, dispatch=ROOMY) as services:
        await until(lambda: len(services.job_runner.servers) == 1)
        ann = await a_person(services, check_ins=1)
        ended = await outcome(services, ann, await asked(services, ann))
        assert (ended.reason, ended.attempts, len(refusing.drawn)) == (REFUSED.reason, 0, 1)


async def test_a_server_that_answered_a_moment_ago_is_waited_for(database_url: str) -> None:
    """It may be restarting."""
    refusing, good = FailingServer(REFUSED), FakeInferenceServer()
    async with services_on(database_url, refusing, good, dispatch=ROOMY) as services:
        server = services.job_runner.servers.all["http://fake-1"]
        await until(lambda: bool(server.is_reachable))
        real = good.check
        good.check = UnreachableServer(OutcomeUnknown("silence")).check  # type: ignore[method-assign]
        server.record_unavailable(OutcomeUnknown("silence"), is_reachable=False)
        ann = await a_person(services, check_ins=1)
        image_id = await asked(services, ann)
        await until(lambda: len(refusing.drawn) == 1)
        await asyncio.sleep(0.2)
        assert (await image_of(services, image_id)).is_open
        good.check = real  # type: ignore[method-assign]
        ended = await outcome(services, ann, image_id)
        assert (ended.topic, ended.attempts, len(refusing.drawn)) == ("image.drawn", 1, 1)


async def test_a_job_that_was_lost_returns_to_its_server_when_the_other_one_refuses(
    database_url: str,
) -> None:
    host, refusing = FakeInferenceServer(), FailingServer(REFUSED)
    host.failures = [JobLost("restarted")]
    async with services_on(database_url, host, refusing, dispatch=ROOMY) as services:
        ann = await a_person(services, check_ins=1)
        async with held_back(services, "http://fake-1"):
            image_id = await asked(services, ann)
            await until(lambda: not host.failures)
        ended = await outcome(services, ann, image_id)
        assert (ended.topic, ended.attempts) == ("image.drawn", 2)
        assert len(refusing.drawn) <= 1


async def test_a_server_that_lacks_what_the_workflow_needs_gets_no_job(database_url: str) -> None:
    unfit, good = FakeInferenceServer(), FakeInferenceServer()
    unfit.problems = PROBLEMS
    async with services_on(database_url, unfit, good, dispatch=ROOMY) as services:
        server = services.job_runner.servers.all["http://fake-0"]
        await until(lambda: server.problems == PROBLEMS)
        images = await ended(services, await jobs_of(services, 2, 8))
        assert {image.failure for image in images} == {None}
        assert (len(unfit.drawn), len(good.drawn)) == (0, 8)
        assert (server.state, server.reason) == (ServerState.UNFIT, PROBLEMS[0])


async def test_if_all_servers_seem_incompatible_each_is_tried(database_url: str) -> None:
    """The descriptions may be wrong, for example behind a proxy."""
    refusing, drawing = FailingServer(REFUSED), FakeInferenceServer()
    refusing.problems = drawing.problems = PROBLEMS
    async with services_on(database_url, refusing, drawing, dispatch=ROOMY) as services:
        await until(lambda: len(services.job_runner.servers.incompatible()) == 2)
        images = await ended(services, await jobs_of(services, 1, 3))
        assert [(image.failure, image.attempts) for image in images] == [(None, 1)] * 3


class SlowToAccept(FakeInferenceServer):
    """The gate holds back the acceptance of jobs."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[UUID] = []

    async def draw(
        self,
        drawing: Drawing,
        on_progress: OnProgress | None = None,
        on_accepted: OnAccepted | None = None,
    ) -> Drawn:
        self.sent.append(drawing.prompt_id)
        await self.gate.wait()
        return await super().draw(drawing, on_progress, on_accepted)


async def test_a_job_that_ended_before_it_was_accepted_is_stopped_there(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = SlowToAccept()
    host.gate.clear()
    async with services_on(database_url, host, dispatch=ROOMY) as services:
        monkeypatch.setattr(
            services.job_runner, "stop", lambda _: None
        )  # this process does not notice the end
        ann = await a_person(services, check_ins=1)
        image_id = await asked(services, ann)
        await until(lambda: host.sent == [image_id])
        await services.job_runner.cleanup.cancel(await image_of(services, image_id), "not wanted")
        host.gate.set()
        ended = await outcome(services, ann, image_id)
        assert (ended.topic, ended.attempts) == ("image.cancelled", 0)
        await until(lambda: host.cancelled == [image_id])


async def test_a_job_accepted_before_its_process_died_is_found_and_its_start_recorded(
    database_url: str,
) -> None:
    elsewhere, here = FakeInferenceServer(), FakeInferenceServer()
    async with services_on(database_url, here, elsewhere, dispatch=ROOMY) as services:
        ann = await a_person(services, check_ins=1)
        dead = JobQueue(Statements(services.store._pool, 5), uuid4(), ROOMY)
        async with held_back(services, "http://fake-0"), held_back(services, "http://fake-1"):
            await asyncio.sleep(0.2)  # until neither is about to claim
            await request_image(services.job_runner, ann, image_id := uuid4(), SMALL)
            assert await dead.claim("http://fake-1", 1)
            elsewhere.known[image_id] = JobState.RUNNING
            await dead.release_all()
        ended = await outcome(services, ann, image_id)
        assert (ended.topic, ended.attempts) == ("image.drawn", 1)
        assert (here.drawn, elsewhere.drawn, len(elsewhere.finished)) == ([], [], 1)
