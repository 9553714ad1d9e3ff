"""A painter that failed: it rests, each time for longer, and only a picture proves that it is well."""

import asyncio
from collections.abc import Mapping
from contextlib import nullcontext
from uuid import uuid4

import pytest

from huajuan.inference_client import JobLost, JobState, ServerUnavailable
from huajuan.jobs.limits import DispatchLimits
from huajuan.jobs.runner import LOST
from huajuan.jobs.servers import GIVEN_UP_MAX, Painter, Painters
from tests.commands.people import a_person
from tests.jobs.fake_host import Failing, FakeHost, Unreachable
from tests.jobs.outcome import BRISK, asked, outcome
from tests.services import desk_on, until

WHY = ServerUnavailable("down")
LIMITS = DispatchLimits(
    rest_seconds_min=1, rest_seconds_max=10, silent_rest_seconds_max=5, jobs_of_host_max=2
)


class Clock:
    """Stands in for the loop, of which a painter asks the time alone."""

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
def test_rests_double_up_to_a_bound(clock: Clock, answers: bool, begun: list[int], longest: int) -> None:
    """One that is silent is missed as soon as it is back, so it does not rest for as long."""
    painter = Painter("p", FakeHost(), LIMITS)
    rests = []
    for _ in range(2000):
        painter.failed(WHY, answers=answers)
        rests.append(painter.rest_seconds)
        clock.now += painter.rest_seconds
        assert painter.rest_seconds == 0
    assert rests == [*begun, *[longest] * (2000 - len(begun))]


def test_only_a_picture_closes_the_circuit(clock: Clock) -> None:
    painter = Painter("p", FakeHost(), LIMITS)
    assert (painter.is_proven, painter.jobs_max) == (True, 2)
    painter.failed(WHY, answers=False)
    clock.now += 5
    with pytest.raises(StopIteration) as there:
        painter.is_there().send(None)
    assert there.value.value is True
    assert (painter.answers, painter.is_proven, painter.jobs_max) == (True, False, 1)
    painter.proved()
    assert (painter.is_proven, painter.jobs_max) == (True, 2)
    painter.failed(WHY, answers=True)
    assert painter.rest_seconds == 1


def test_one_that_is_still_silent_rests_for_longer(clock: Clock) -> None:
    painter = Painter("p", Unreachable(WHY), LIMITS)
    painter.failed(WHY, answers=False)
    clock.now += 1
    with pytest.raises(StopIteration) as there:
        painter.is_there().send(None)
    assert there.value.value is False
    assert painter.rest_seconds == 2


def known(hosts: Mapping[str, FakeHost]) -> Painters:
    painters = Painters(nullcontext, LIMITS, [])  # type: ignore[arg-type]
    painters.all = {url: Painter(url, host, LIMITS) for url, host in hosts.items()}
    return painters


def test_since_when_nobody_answers(clock: Clock) -> None:
    painters = known({"p": FakeHost(), "q": FakeHost()})
    painters.all["p"].failed(WHY, answers=False)
    assert (len(painters), painters.nobody_answers_for()) == (1, 0)
    painters.all["q"].failed(WHY, answers=False)
    assert (len(painters), painters.nobody_answers_for()) == (0, 0)
    clock.now += 7
    assert painters.nobody_answers_for() == 7
    painters.all["p"].proved()
    assert painters.nobody_answers_for() == 0


def test_how_much_is_remembered_of_jobs_given_up_is_bounded() -> None:
    painter, first = Painter("p", FakeHost(), LIMITS), uuid4()
    painter.give_up(first)
    assert painter.has_given_up(first)
    for _ in range(GIVEN_UP_MAX):
        painter.give_up(uuid4())
    assert not painter.has_given_up(first)


@pytest.mark.parametrize("state", [JobState.SUCCEEDED, JobState.RUNNING, JobState.QUEUED])
async def test_of_two_that_know_a_job_the_one_that_is_further_is_asked(state: JobState) -> None:
    image_id, hosts = uuid4(), {"p": FakeHost(), "q": FakeHost(), "r": Unreachable(WHY)}
    hosts["p"].known[image_id], hosts["q"].known[image_id] = JobState.FAILED, state
    painters = known(hosts)
    assert await painters.look_for(image_id) == (painters.all["q"], {"r"})
    painters.all["q"].give_up(image_id)
    assert await painters.look_for(image_id) == (painters.all["p"], {"r"})
    assert (await painters.look_for(uuid4())).known_by is None


async def test_after_a_failure_one_job_is_its_proof(database_url: str) -> None:
    host = FakeHost()
    host.failures = [JobLost("restarted")]
    async with desk_on(database_url, host, dispatch=BRISK) as desk:
        ann = await a_person(desk, check_ins=1)
        await asked(desk, ann)
        await until(lambda: not host.failures)
        host.gate.clear()
        await until(lambda: len(host.drawn) == 2)
        await asked(desk, ann)
        await asked(desk, ann)
        await asyncio.sleep(0.3)  # it would have them by now
        assert len(host.drawn) == 2
        painter = desk.room.painters.all["http://fake-0"]
        assert (painter.answers, painter.is_proven) == (True, False)
        host.gate.set()
        await until(lambda: len(host.drawn) == 4)
        assert painter.is_proven


async def test_a_job_that_others_lost_too_often_is_no_reason_to_rest(database_url: str) -> None:
    host = Failing(ServerUnavailable("it takes no jobs"))
    async with desk_on(database_url, host, dispatch=BRISK) as desk:
        ann = await a_person(desk, check_ins=1)
        assert (await outcome(desk, ann, await asked(desk, ann))).reason == LOST
        assert desk.room.painters.all["http://fake-0"]._failures == len(host.drawn) == 3
