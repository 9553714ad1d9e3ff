"""A job goes to another painter after a lost one, and nowhere for ever: N attempts, and the points go back."""

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
    OutcomeUnknown,
    Rejected,
    ServerUnavailable,
    TookTooLong,
)
from huajuan.jobs.limits import DispatchLimits
from huajuan.jobs.queue import JobQueue
from huajuan.runtime.cancel_tasks import end
from tests.commands.people import a_person
from tests.inference_client.conftest import begun, drawing
from tests.jobs.conftest import Pair
from tests.jobs.fake_host import Failing, FakeHost, Vanished
from tests.jobs.outcome import BRISK, IMPATIENT, asked, held_back, outcome
from tests.services import desk_before, desk_on, until

BAD, GOOD = "http://fake-0", "http://fake-1"
FAILURES = [
    JobLost("restarted"), TookTooLong("hangs", worker_stuck=True), ServerUnavailable("no"),
    OutcomeUnknown("silence"), DrawingFailed("out of memory"), Rejected("no such model"),
]  # fmt: skip


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
async def test_what_one_painter_failed_in_another_draws(database_url: str, failure: InferenceError) -> None:
    bad, good = Failing(failure), FakeHost()
    async with desk_on(database_url, bad, good, dispatch=BRISK) as desk:
        ann = await a_person(desk, check_ins=1)
        async with held_back(desk, GOOD):
            image_id = await asked(desk, ann)
            await until(lambda: bool(bad.drawn))
        ended = await outcome(desk, ann, image_id)
        begun = 1 if isinstance(failure, Rejected) else 2  # a refusal is no attempt
        assert (ended.topic, ended.attempts) == ("image.drawn", begun)
        assert (len(bad.drawn), len(good.drawn)) == (1, 1)


@pytest.mark.parametrize("hosts", [1, 2, 5])
@pytest.mark.parametrize("failure", FAILURES[:4], ids=lambda failure: type(failure).__name__)
async def test_a_poison_job_is_tried_n_times_in_all(
    database_url: str, hosts: int, failure: InferenceError
) -> None:
    painters = [Failing(failure) for _ in range(hosts)]
    async with desk_on(database_url, *painters, dispatch=BRISK) as desk:
        ann = await a_person(desk, check_ins=1)
        ended = await outcome(desk, ann, await asked(desk, ann))
        assert (ended.topic, ended.attempts) == ("image.drawing_failed", 3)
        assert sum(len(painter.drawn) for painter in painters) == 3


async def test_a_painter_that_refuses_everything_uses_no_attempts_up_while_the_other_is_busy(
    database_url: str,
) -> None:
    bad, good = Failing(Rejected("no such model")), FakeHost()
    good.gate.clear()
    patient = DispatchLimits(claim_every_seconds=0.02, rest_seconds_min=0.02, jobs_of_host_max=1)
    async with desk_on(database_url, bad, good, dispatch=patient) as desk:
        ann, ben = await a_person(desk, check_ins=1), await a_person(desk, "ben", check_ins=1)
        first = await asked(desk, ann)
        await until(lambda: bool(good.drawn))
        second = await asked(desk, ben)
        await until(lambda: second in {drawing.prompt_id for drawing in bad.drawn})
        await asyncio.sleep(0.3)  # it would have had it twice more by now
        good.gate.set()
        assert (await outcome(desk, ben, second, pictures=None)).topic == "image.drawn"
        assert (await outcome(desk, ann, first, pictures=1)).topic == "image.drawn"
        assert len(bad.drawn) <= 2


async def test_a_painter_that_is_silent_is_no_attempt(database_url: str) -> None:
    """However many are: what was begun once is not begun at one that does not even say whether it has it."""
    silent = [Vanished(ServerUnavailable("down")) for _ in range(6)]
    good = FakeHost()
    async with desk_on(database_url, *silent, good, dispatch=BRISK) as desk:
        ann = await a_person(desk, check_ins=1)
        async with held_back(desk, "http://fake-6"):
            image_id = await asked(desk, ann)
            await until(lambda: len(desk.room.painters) < 7)
        ended = await outcome(desk, ann, image_id)
        assert (ended.topic, ended.attempts) == ("image.drawn", 2)


async def test_a_job_put_back_is_had_again_before_who_put_it_back_has_returned(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = Failing(JobLost("restarted")), FakeHost()
    real = JobQueue.put_back

    async def put_back(queue: JobQueue, image_id: UUID, **how: object) -> None:
        await real(queue, image_id, **how)  # type: ignore[arg-type]
        await until(lambda: bool(good.drawn))

    monkeypatch.setattr(JobQueue, "put_back", put_back)
    async with desk_on(database_url, bad, good, dispatch=BRISK) as desk:
        ann = await a_person(desk, check_ins=1)
        async with held_back(desk, GOOD):
            image_id = await asked(desk, ann)
            await until(lambda: bool(bad.drawn))
        assert (await outcome(desk, ann, image_id)).topic == "image.drawn"


async def test_a_job_behind_a_dead_worker_goes_to_another_painter(database_url: str, pair: Pair) -> None:
    """The worker died in a job of somebody else, so that ours is not even begun there."""
    dead, good = pair
    dead.fault(Mode.ZOMBIE)
    async with ComfyUI(dead.url, limits=IMPATIENT) as other:
        await end([await begun(other, drawing(), JobState.RUNNING)])
    async with desk_before(database_url, dead.url, good.url, dispatch=BRISK, painter=IMPATIENT) as desk:
        ann = await a_person(desk, check_ins=1)
        async with held_back(desk, good.url):
            image_id = await asked(desk, ann)
            await until(lambda: len(dead.painter.jobs.pending) == 1)
        ended = await outcome(desk, ann, image_id)
        assert (ended.topic, ended.attempts) == ("image.drawn", 2)
        assert not desk.room.painters.all[dead.url].is_proven
        assert (dead.painter.jobs.runs[str(image_id)], len(dead.painter.jobs.pending)) == (0, 0)
