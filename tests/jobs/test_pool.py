"""A pool with a bad server draws all jobs, and one person's bad jobs close no server."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from structlog.testing import capture_logs

from huajuan.commands.generate_image import ask_for_image
from huajuan.demo_comfyui.faults import Mode
from huajuan.domain.image import Image
from huajuan.domain.image_parameters import Order
from huajuan.http.services import Desk
from huajuan.inference_client import (
    Drawing,
    DrawingFailed,
    Drawn,
    JobLost,
    JobState,
    OutcomeUnknown,
    Rejected,
)
from huajuan.jobs.queue import JobQueue
from huajuan.jobs.servers import OnAccepted, OnProgress, ServerState
from huajuan.postgres.statements import Statements
from tests.commands.people import a_person, account_of
from tests.jobs.conftest import Pair
from tests.jobs.fake_host import Failing, FakeHost, Unreachable
from tests.jobs.outcome import BRISK, COST, IMPATIENT, SMALL, asked, held_back, image_of, outcome, rows
from tests.services import desk_before, desk_on, until

JOBS = 25
ROOMY = msgspec.structs.replace(BRISK, jobs_of_account_max=JOBS)
BAD = Order("bad", 48, 48, 3, "DDIM", "7")
REFUSED = Rejected("the server refused the workflow", "no node Foo")
PROBLEMS = ["node 5 (KSampler): the server has no such kind of node"]


class Picky(FakeHost):
    """Fails in the job of one prompt, each time, as the job's own fault."""

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


async def jobs_of(desk: Desk, accounts: int, jobs: int) -> dict[UUID, UUID]:
    """The jobs of several people, in turn, each with its account."""
    names = [await a_person(desk, f"person{n}", check_ins=jobs) for n in range(accounts)]
    return {await asked(desk, names[n % accounts]): names[n % accounts] for n in range(jobs)}


async def ended(desk: Desk, jobs: Any) -> list[Image]:
    async def are_over() -> bool:
        return not await rows(desk, "SELECT 1 FROM operations.job_leases")

    await until(are_over)
    return [await image_of(desk, image_id) for image_id in jobs]


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
    async with desk_before(database_url, bad.url, good.url, dispatch=ROOMY, painter=IMPATIENT) as desk:
        jobs = await jobs_of(desk, accounts, jobs_max)
        images = await ended(desk, jobs)
        assert [image.failure for image in images] == [None] * jobs_max
        assert max(image.attempts for image in images) <= attempts_max
        for account_id in set(jobs.values()):
            account = await account_of(desk, account_id)
            mine = list(jobs.values()).count(account_id)
            assert (account.balance, account.held) == (100 * jobs_max - COST * mine, {})
        painter = desk.room.painters.all[bad.url]
        assert state in (None, painter.state)
        assert painter.reason


@pytest.mark.parametrize("error", [DrawingFailed("CUDA error"), JobLost("restarted")])
async def test_a_server_that_comes_back_is_used_again(database_url: str, error: Exception) -> None:
    bad, good = FakeHost(), FakeHost()
    bad.failures = [error] * 3
    async with desk_on(database_url, bad, good, dispatch=ROOMY) as desk:
        painter = desk.room.painters.all["http://fake-0"]
        images = await ended(desk, await jobs_of(desk, 3, 9))
        assert [image.failure for image in images] == [None] * 9
        bad.failures = []
        async with held_back(desk, "http://fake-1"):
            ann = await a_person(desk, check_ins=1)
            drawn = await outcome(desk, ann, await asked(desk, ann), pictures=None)
            assert (drawn.topic, painter.state, painter.reason) == ("image.drawn", ServerState.READY, None)


async def test_one_persons_bad_jobs_close_no_server(database_url: str) -> None:
    hosts = [Picky(DrawingFailed("CUDA error")) for _ in range(2)]
    with capture_logs() as logs:
        async with desk_on(database_url, *hosts, dispatch=ROOMY) as desk:
            eve, ann = [await a_person(desk, name, check_ins=JOBS) for name in ("eve", "ann")]
            bad = [await asked(desk, eve, BAD) for _ in range(6)]
            good = [await asked(desk, ann) for _ in range(6)]
            assert {image.failure for image in await ended(desk, good)} == {None}
            images = await ended(desk, bad)
            assert {(image.failure, image.attempts) for image in images} == {("CUDA error", 2)}
            assert (await account_of(desk, eve)).balance == 100 * JOBS
            assert all(painter.is_proven for painter in desk.room.painters.all.values())
    assert [line for line in logs if line["event"] == "painter rests"] == []


async def test_bad_jobs_of_two_people_close_no_server_for_long(database_url: str) -> None:
    """That they failed at both servers takes back what they seemed to say of the first."""
    hosts = [Picky(DrawingFailed("CUDA error")) for _ in range(2)]
    async with desk_on(database_url, *hosts, dispatch=ROOMY) as desk:
        people = [await a_person(desk, name, check_ins=1) for name in ("eve", "ann")]
        images = await ended(desk, [await asked(desk, person, BAD) for person in people])
        assert {(image.failure, image.attempts) for image in images} == {("CUDA error", 2)}
        assert [painter.rest_seconds for painter in desk.room.painters.all.values()] == [0, 0]


async def test_failures_of_two_people_at_the_only_server_open_its_circuit(database_url: str) -> None:
    async with desk_on(database_url, Failing(DrawingFailed("CUDA error", "at 0x1")), dispatch=ROOMY) as desk:
        painter = desk.room.painters.all["http://fake-0"]
        for name, is_open in (("ann", False), ("ben", True)):
            person = await a_person(desk, name, check_ins=1)
            assert (await outcome(desk, person, await asked(desk, person))).reason == "CUDA error"
            assert (painter.state is ServerState.COOLDOWN) is is_open
        assert painter.reason == "CUDA error"


@pytest.mark.parametrize("hosts", [1, 2, 3])
async def test_each_server_is_asked_once_and_when_all_have_refused_the_job_fails(
    database_url: str, hosts: int
) -> None:
    refusing = [Failing(REFUSED) for _ in range(hosts)]
    async with desk_on(database_url, *refusing, dispatch=ROOMY) as desk:
        ann = await a_person(desk, check_ins=1)
        ended = await outcome(desk, ann, await asked(desk, ann))
        assert (ended.reason, ended.attempts) == (REFUSED.reason, 0)
        assert [len(host.drawn) for host in refusing] == [1] * hosts
        assert {painter.state for painter in desk.room.painters.all.values()} == {ServerState.UNFIT}


async def test_a_server_that_does_not_answer_is_not_waited_for(database_url: str) -> None:
    refusing, away = Failing(REFUSED), Unreachable(OutcomeUnknown("silence"))
    async with desk_on(database_url, refusing, away, dispatch=ROOMY) as desk:
        await until(lambda: len(desk.room.painters) == 1)
        ann = await a_person(desk, check_ins=1)
        ended = await outcome(desk, ann, await asked(desk, ann))
        assert (ended.reason, ended.attempts, len(refusing.drawn)) == (REFUSED.reason, 0, 1)


async def test_a_server_that_answered_a_moment_ago_is_waited_for(database_url: str) -> None:
    """It may be starting again."""
    refusing, good = Failing(REFUSED), FakeHost()
    async with desk_on(database_url, refusing, good, dispatch=ROOMY) as desk:
        painter = desk.room.painters.all["http://fake-1"]
        await until(lambda: bool(painter.answers))
        real, good.check = good.check, Unreachable(OutcomeUnknown("silence")).check  # type: ignore[method-assign]
        painter.failed(OutcomeUnknown("silence"), answers=False)
        ann = await a_person(desk, check_ins=1)
        image_id = await asked(desk, ann)
        await until(lambda: len(refusing.drawn) == 1)
        await asyncio.sleep(0.2)
        assert (await image_of(desk, image_id)).is_open
        good.check = real  # type: ignore[method-assign]
        ended = await outcome(desk, ann, image_id)
        assert (ended.topic, ended.attempts, len(refusing.drawn)) == ("image.drawn", 1, 1)


async def test_a_job_that_was_lost_returns_to_its_server_when_the_other_one_refuses(
    database_url: str,
) -> None:
    host, refusing = FakeHost(), Failing(REFUSED)
    host.failures = [JobLost("restarted")]
    async with desk_on(database_url, host, refusing, dispatch=ROOMY) as desk:
        ann = await a_person(desk, check_ins=1)
        async with held_back(desk, "http://fake-1"):
            image_id = await asked(desk, ann)
            await until(lambda: not host.failures)
        ended = await outcome(desk, ann, image_id)
        assert (ended.topic, ended.attempts) == ("image.drawn", 2)
        assert len(refusing.drawn) <= 1


async def test_a_server_that_lacks_what_the_workflow_needs_gets_no_job(database_url: str) -> None:
    unfit, good = FakeHost(), FakeHost()
    unfit.problems = PROBLEMS
    async with desk_on(database_url, unfit, good, dispatch=ROOMY) as desk:
        painter = desk.room.painters.all["http://fake-0"]
        await until(lambda: painter.problems == PROBLEMS)
        images = await ended(desk, await jobs_of(desk, 2, 8))
        assert {image.failure for image in images} == {None}
        assert (len(unfit.drawn), len(good.drawn)) == (0, 8)
        assert (painter.state, painter.reason) == (ServerState.UNFIT, PROBLEMS[0])


async def test_where_all_seem_unfit_each_is_asked(database_url: str) -> None:
    """What they seem to lack may be wrong: a proxy may hide it."""
    refusing, drawing = Failing(REFUSED), FakeHost()
    refusing.problems = drawing.problems = PROBLEMS
    async with desk_on(database_url, refusing, drawing, dispatch=ROOMY) as desk:
        await until(lambda: len(desk.room.painters.lacking()) == 2)
        images = await ended(desk, await jobs_of(desk, 1, 3))
        assert [(image.failure, image.attempts) for image in images] == [(None, 1)] * 3


class SlowToAccept(FakeHost):
    """Its gate holds back the acceptance."""

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
    async with desk_on(database_url, host, dispatch=ROOMY) as desk:
        monkeypatch.setattr(desk.room, "stop", lambda _: None)  # this process does not hear of the end
        ann = await a_person(desk, check_ins=1)
        image_id = await asked(desk, ann)
        await until(lambda: host.sent == [image_id])
        await desk.room.closing.cancel(await image_of(desk, image_id), "not wanted")
        host.gate.set()
        ended = await outcome(desk, ann, image_id)
        assert (ended.topic, ended.attempts) == ("image.cancelled", 0)
        await until(lambda: host.cancelled == [image_id])


async def test_what_was_accepted_before_its_process_died_is_found_and_its_start_recorded(
    database_url: str,
) -> None:
    elsewhere, here = FakeHost(), FakeHost()
    async with desk_on(database_url, here, elsewhere, dispatch=ROOMY) as desk:
        ann = await a_person(desk, check_ins=1)
        dead = JobQueue(Statements(desk.store._pool, 5), uuid4(), ROOMY)
        async with held_back(desk, "http://fake-0"), held_back(desk, "http://fake-1"):
            await asyncio.sleep(0.2)  # until neither is about to claim
            await ask_for_image(desk.room, ann, image_id := uuid4(), SMALL)
            assert await dead.claim("http://fake-1", 1)
            elsewhere.known[image_id] = JobState.RUNNING
            await dead.let_go()
        ended = await outcome(desk, ann, image_id)
        assert (ended.topic, ended.attempts) == ("image.drawn", 1)
        assert (here.drawn, elsewhere.drawn, len(elsewhere.finished)) == ([], [], 1)
