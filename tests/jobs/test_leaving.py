"""What is left at the painters once a job has ended: nothing that fills their memory, and nobody drawing for nobody."""

import asyncio
from uuid import UUID

from huajuan.commands.cancel_image import cancel_image
from huajuan.demo_comfyui.faults import Mode
from huajuan.inference_client import DrawingFailed, JobState, OutcomeUnknown
from huajuan.jobs.runner import TOO_LONG
from tests.commands.people import a_person
from tests.jobs.conftest import Pair
from tests.jobs.fake_host import Failing, FakeHost
from tests.jobs.outcome import BRISK, IMPATIENT, asked, held_back, image_of, outcome
from tests.services import desk_before, desk_on, until


async def test_a_painter_forgets_what_is_on_record(database_url: str, pair: Pair) -> None:
    async with desk_before(database_url, pair[0].url, dispatch=BRISK, painter=IMPATIENT) as desk:
        ann = await a_person(desk, check_ins=1)
        jobs = pair[0].painter.jobs
        for _ in range(3):
            image_id = await asked(desk, ann)
            await until(lambda image_id=image_id: jobs.runs[str(image_id)] == 1)  # type: ignore[misc]
            await until(lambda: not jobs.ended and not jobs.remaining())
            assert (await image_of(desk, image_id)).picture


async def test_it_forgets_only_after_the_telling(database_url: str) -> None:
    host = FakeHost()
    told: list[str | None] = []
    async with desk_on(database_url, host, dispatch=BRISK) as desk:
        ann = await a_person(desk, check_ins=1)

        async def forget(prompt_id: UUID) -> None:
            told.append((await image_of(desk, prompt_id)).picture)

        host.forget = forget  # type: ignore[method-assign]
        image_id = await asked(desk, ann)
        await until(lambda: bool(told))
        assert told == [(await image_of(desk, image_id)).picture]


async def test_the_record_of_a_failure_stays_for_who_looks_into_it(database_url: str) -> None:
    host = Failing(DrawingFailed("out of memory"))
    async with desk_on(database_url, host, dispatch=BRISK) as desk:
        ann = await a_person(desk, check_ins=1)
        await outcome(desk, ann, await asked(desk, ann))
        await until(lambda: not desk.room._errands.tasks)
    assert (host.forgotten, host.cancelled) == ([], [])


async def test_what_was_cancelled_is_forgotten_once_it_has_ended_there(database_url: str) -> None:
    """Even if it ended well after all: a server that is asked to forget what still runs does nothing."""
    host = FakeHost()
    host.gate.clear()
    async with desk_on(database_url, host, dispatch=BRISK) as desk:
        ann = await a_person(desk, check_ins=1)
        image_id = await asked(desk, ann)
        await until(lambda: bool(host.drawn))
        await cancel_image(desk.room, ann, image_id)
        await until(lambda: image_id in host.cancelled)
        await asyncio.sleep(0.3)
        assert host.forgotten == []
        host.known[image_id] = JobState.SUCCEEDED
        # Stopped again by a second look, it is forgotten again, which changes nothing.
        await until(lambda: set(host.forgotten) == {image_id})


async def test_what_was_drawn_elsewhere_meanwhile_is_stopped_at_the_other(
    database_url: str, pair: Pair
) -> None:
    """It answers no questions, but goes on drawing."""
    slow, good = pair
    slow.fault(Mode.NEVER_ENDING)
    async with desk_before(database_url, slow.url, good.url, dispatch=BRISK, painter=IMPATIENT) as desk:
        ann = await a_person(desk, check_ins=1)
        async with held_back(desk, good.url):
            image_id = await asked(desk, ann)
            await until(lambda: slow.painter.jobs.running is not None)
            slow.fault(Mode.LOOKUP_500, times=None)
            await until(lambda: len(desk.room.painters) < 2)
        assert (await outcome(desk, ann, image_id)).topic == "image.drawn"
        await until(lambda: not slow.painter.jobs.remaining())
        assert slow.painter.jobs.ended[str(image_id)].status == "cancelled"


async def test_at_the_deadline_every_painter_is_told_to_stop(database_url: str) -> None:
    hosts = Failing(OutcomeUnknown("silence")), FakeHost()
    async with desk_on(database_url, *hosts, dispatch=BRISK) as desk:
        ann = await a_person(desk, check_ins=1)
        async with held_back(desk, "http://fake-1"):
            image_id = await asked(desk, ann)
            await until(lambda: bool(hosts[0].drawn))
            image = await image_of(desk, image_id)
            desk.store.clock = lambda: image.deadline
            assert (await outcome(desk, ann, image_id)).reason == TOO_LONG
            await until(lambda: all(image_id in host.cancelled for host in hosts))
