"""Cancelling through the service, before real painters: the host really stops, and each job ends once."""

import asyncio
import random
import time
from uuid import UUID

import msgspec
import pytest

from huajuan.commands.cancel_image import CANCELLED, cancel_image
from huajuan.domain.image_parameters import Order
from huajuan.http.services import Desk
from huajuan.jobs.dispatcher import Dispatcher
from huajuan.storage.pictures import Pictures
from tests.commands.people import a_person
from tests.inference_client.conftest import RunningPainter
from tests.jobs.conftest import Pair
from tests.jobs.outcome import BRISK, IMPATIENT, asked, image_of, outcome
from tests.services import desk_before, until

LONG = Order("moon over a lake", 48, 48, 1000, "DDIM", "7")
TIMES = 50


def is_idle(painter: RunningPainter) -> bool:
    return not painter.painter.jobs.remaining()


def runs(painter: RunningPainter, image_id: UUID) -> bool:
    running = painter.painter.jobs.running
    return running is not None and running.prompt_id == str(image_id)


def queues(painter: RunningPainter, image_id: UUID) -> bool:
    return any(job.prompt_id == str(image_id) for *_, job in painter.painter.jobs.pending)


@pytest.fixture
def painter(pair: Pair) -> RunningPainter:
    pair[0].slow_down(0.1)
    return pair[0]


async def check_cancelled(desk: Desk, account_id: UUID, image_id: UUID) -> None:
    ended = await outcome(desk, account_id, image_id, pictures=None)
    assert (ended.topic, ended.reason) == ("image.cancelled", CANCELLED)


async def test_a_running_job_is_interrupted(database_url: str, painter: RunningPainter) -> None:
    async with desk_before(database_url, painter.url, dispatch=BRISK, painter=IMPATIENT) as desk:
        ann = await a_person(desk, check_ins=1)
        image_id = await asked(desk, ann, LONG)
        await until(lambda: runs(painter, image_id))
        await cancel_image(desk.room, ann, image_id)
        await check_cancelled(desk, ann, image_id)
        await until(lambda: is_idle(painter))
        assert painter.painter.jobs.runs[str(image_id)] == 1
        await until(lambda: not painter.painter.jobs.ended)


async def test_jobs_that_wait_are_taken_out_and_the_running_one_goes_on(
    database_url: str, painter: RunningPainter
) -> None:
    """One waits in the painter's own queue, one in ours."""
    two = msgspec.structs.replace(BRISK, jobs_of_host_max=2)
    async with desk_before(database_url, painter.url, dispatch=two, painter=IMPATIENT) as desk:
        ann, ben, eve = [await a_person(desk, name, check_ins=1) for name in ("ann", "ben", "eve")]
        running = await asked(desk, ann, LONG)
        await until(lambda: runs(painter, running))
        there, here = await asked(desk, ben), await asked(desk, eve)
        await until(lambda: queues(painter, there))
        for account_id, image_id in ((eve, here), (ben, there)):
            await cancel_image(desk.room, account_id, image_id)
        await until(lambda: not queues(painter, there))
        assert runs(painter, running)
        await cancel_image(desk.room, ann, running)
        for account_id, image_id in ((ann, running), (ben, there), (eve, here)):
            await check_cancelled(desk, account_id, image_id)
        assert (painter.painter.jobs.runs[str(there)], painter.painter.jobs.runs[str(here)]) == (0, 0)


async def test_one_that_comes_too_late_changes_nothing(database_url: str, pair: Pair) -> None:
    async with desk_before(database_url, pair[0].url, dispatch=BRISK, painter=IMPATIENT) as desk:
        ann = await a_person(desk, check_ins=1)
        image_id = await asked(desk, ann)
        before = await outcome(desk, ann, image_id)
        ending = await cancel_image(desk.room, ann, image_id)
        assert (ending.picture, ending.reason) == ((await image_of(desk, image_id)).picture, None)
        assert await outcome(desk, ann, image_id) == before


async def test_a_process_that_does_not_hear_of_it_stops_the_painter_all_the_same(
    database_url: str, painter: RunningPainter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Dispatcher, "hear", lambda *_: None)
    async with desk_before(database_url, painter.url, dispatch=BRISK, painter=IMPATIENT) as desk:
        ann = await a_person(desk, check_ins=1)
        image_id = await asked(desk, ann, LONG)
        await until(lambda: runs(painter, image_id))
        await cancel_image(desk.room, ann, image_id)
        await until(lambda: is_idle(painter))
        await check_cancelled(desk, ann, image_id)


async def test_one_that_comes_while_the_picture_is_put_away_leaves_no_file(
    database_url: str, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever writes it cannot be interrupted."""
    real, begun, may_go_on = Pictures.put_first, asyncio.Event(), asyncio.Event()

    async def slowly(pictures: Pictures, image_id: UUID, content: bytes) -> bool:
        begun.set()
        await may_go_on.wait()
        return await real(pictures, image_id, content)

    puts: list[asyncio.Task[bool]] = []

    async def put(pictures: Pictures, image_id: UUID, content: bytes) -> bool:
        puts.append(asyncio.create_task(slowly(pictures, image_id, content)))
        return await asyncio.shield(puts[0])

    monkeypatch.setattr(Pictures, "put_first", put)
    async with desk_before(database_url, pair[0].url, dispatch=BRISK, painter=IMPATIENT) as desk:
        ann = await a_person(desk, check_ins=1)
        image_id = await asked(desk, ann)
        await begun.wait()
        await cancel_image(desk.room, ann, image_id)
        await asyncio.sleep(0.3)  # it has heard of it by now
        may_go_on.set()
        await puts[0]
        await until(lambda: not desk.room._jobs and not desk.room._errands.tasks)
        await check_cancelled(desk, ann, image_id)


async def test_racing_with_the_end_leaves_exactly_one(database_url: str, pair: Pair) -> None:
    draw = random.Random(6)
    async with desk_before(database_url, pair[0].url, dispatch=BRISK, painter=IMPATIENT) as desk:
        undisturbed, *people = [await a_person(desk, f"ann{n}", check_ins=1) for n in range(TIMES + 1)]
        seconds = await seconds_of_a_picture(desk, undisturbed)
        topics: list[str] = []
        for number, ann in enumerate(people, 1):
            image_id = await asked(desk, ann)
            await asyncio.sleep(draw.uniform(0, 2 * seconds * number / TIMES))
            ending = await cancel_image(desk.room, ann, image_id)
            ended = await outcome(desk, ann, image_id, pictures=1 + topics.count("image.drawn"))
            assert (ending.picture is None, ending.reason) == (ended.topic == "image.cancelled", ended.reason)
            topics.append(ended.topic)
        assert set(topics) == {"image.drawn", "image.cancelled"}
        await until(lambda: is_idle(pair[0]))


async def seconds_of_a_picture(desk: Desk, account_id: UUID) -> float:
    """From the request to the end, as the machine is today."""
    began = time.monotonic()
    image_id = await asked(desk, account_id)
    assert (await outcome(desk, account_id, image_id)).topic == "image.drawn"
    return time.monotonic() - began
