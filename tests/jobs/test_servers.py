"""Servers: cooldown after failures, health checks, and lookups of jobs."""

import asyncio
from collections.abc import Mapping
from contextlib import nullcontext
from uuid import uuid4

import pytest

from huajuan.inference_client import JobLost, JobState, ServerUnavailable
from huajuan.jobs.queue import DispatchLimits
from huajuan.jobs.runner import LOST
from huajuan.jobs.servers import EXCLUDED_JOBS_MAX, InferenceServer, ServerPool
from tests.commands.people import a_person
from tests.jobs.fake_server import FailingServer, FakeInferenceServer, UnreachableServer
from tests.jobs.outcome import BRISK, asked, outcome
from tests.services import services_on, until

WHY = ServerUnavailable("down")
LIMITS = DispatchLimits(
    cooldown_seconds_min=1, cooldown_seconds_max=10, unreachable_cooldown_seconds_max=5, jobs_per_server_max=2
)


class Clock:
    """Replaces the event loop's clock."""

    def __init__(self) -> None:
        self.now = 1000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("huajuan.jobs.servers.asyncio.get_running_loop", lambda: clock)
    return clock


@pytest.mark.parametrize(("answers", "begun", "longest"), [(True, [1, 2, 4, 8], 10), (False, [1, 2, 4], 5)])
def test_cooldowns_double_up_to_a_bound(clock: Clock, answers: bool, begun: list[int], longest: int) -> None:
    """The cooldown of an unreachable server has a lower bound."""
    server = InferenceServer("p", FakeInferenceServer(), LIMITS)
    rests = []
    for _ in range(2000):
        server.record_unavailable(WHY, is_reachable=answers)
        rests.append(server.cooldown_seconds)
        clock.now += server.cooldown_seconds
        assert server.cooldown_seconds == 0
    assert rests == [*begun, *[longest] * (2000 - len(begun))]


def test_only_a_picture_closes_the_circuit(clock: Clock) -> None:
    server = InferenceServer("p", FakeInferenceServer(), LIMITS)
    assert (server.is_circuit_closed, server.jobs_max) == (True, 2)
    server.record_unavailable(WHY, is_reachable=False)
    clock.now += 5
    with pytest.raises(StopIteration) as there:
        server.ensure_reachable().send(None)
    assert there.value.value is True
    assert (server.is_reachable, server.is_circuit_closed, server.jobs_max) == (True, False, 1)
    server.record_success()
    assert (server.is_circuit_closed, server.jobs_max) == (True, 2)
    server.record_unavailable(WHY, is_reachable=True)
    assert server.cooldown_seconds == 1


def test_a_server_that_is_still_unreachable_gets_a_longer_cooldown(clock: Clock) -> None:
    server = InferenceServer("p", UnreachableServer(WHY), LIMITS)
    server.record_unavailable(WHY, is_reachable=False)
    clock.now += 1
    with pytest.raises(StopIteration) as there:
        server.ensure_reachable().send(None)
    assert there.value.value is False
    assert server.cooldown_seconds == 2


def known(hosts: Mapping[str, FakeInferenceServer]) -> ServerPool:
    servers = ServerPool(nullcontext, LIMITS, [])  # type: ignore[arg-type]
    servers.all = {url: InferenceServer(url, host, LIMITS) for url, host in hosts.items()}
    return servers


def test_seconds_without_server(clock: Clock) -> None:
    servers = known({"p": FakeInferenceServer(), "q": FakeInferenceServer()})
    servers.all["p"].record_unavailable(WHY, is_reachable=False)
    assert (len(servers), servers.seconds_without_server()) == (1, 0)
    servers.all["q"].record_unavailable(WHY, is_reachable=False)
    assert (len(servers), servers.seconds_without_server()) == (0, 0)
    clock.now += 7
    assert servers.seconds_without_server() == 7
    servers.all["p"].record_success()
    assert servers.seconds_without_server() == 0


def test_the_number_of_excluded_jobs_is_bounded() -> None:
    server, first = InferenceServer("p", FakeInferenceServer(), LIMITS), uuid4()
    server.exclude_job(first)
    assert server.excludes_job(first)
    for _ in range(EXCLUDED_JOBS_MAX):
        server.exclude_job(uuid4())
    assert not server.excludes_job(first)


@pytest.mark.parametrize("state", [JobState.SUCCEEDED, JobState.RUNNING, JobState.QUEUED])
async def test_of_two_servers_that_know_a_job_the_further_one_is_used(state: JobState) -> None:
    image_id, hosts = (
        uuid4(),
        {"p": FakeInferenceServer(), "q": FakeInferenceServer(), "r": UnreachableServer(WHY)},
    )
    hosts["p"].known[image_id], hosts["q"].known[image_id] = JobState.FAILED, state
    servers = known(hosts)
    assert await servers.find_job(image_id) == (servers.all["q"], {"r"})
    servers.all["q"].exclude_job(image_id)
    assert await servers.find_job(image_id) == (servers.all["p"], {"r"})
    assert (await servers.find_job(uuid4())).known_by is None


async def test_after_a_failure_a_server_gets_one_job_until_one_succeeds(database_url: str) -> None:
    host = FakeInferenceServer()
    host.failures = [JobLost("restarted")]
    async with services_on(database_url, host, dispatch=BRISK) as services:
        ann = await a_person(services, check_ins=1)
        await asked(services, ann)
        await until(lambda: not host.failures)
        host.gate.clear()
        await until(lambda: len(host.drawn) == 2)
        await asked(services, ann)
        await asked(services, ann)
        await asyncio.sleep(0.3)  # time for its jobs
        assert len(host.drawn) == 2
        server = services.job_runner.servers.all["http://fake-0"]
        assert (server.is_reachable, server.is_circuit_closed) == (True, False)
        host.gate.set()
        await until(lambda: len(host.drawn) == 4)
        assert server.is_circuit_closed


async def test_a_job_lost_too_often_opens_no_circuit(database_url: str) -> None:
    host = FailingServer(ServerUnavailable("it takes no jobs"))
    async with services_on(database_url, host, dispatch=BRISK) as services:
        ann = await a_person(services, check_ins=1)
        assert (await outcome(services, ann, await asked(services, ann))).reason == LOST
        assert services.job_runner.servers.all["http://fake-0"]._circuit.failures == len(host.drawn) == 3
