"""Cancelling through the service with demo servers: the server stops the job, and each job ends once."""

import asyncio
import random
import time
from uuid import UUID

import msgspec
import pytest

from huajuan.commands.generate_image import CANCELLED, cancel_image
from huajuan.domain.image import ImageParameters
from huajuan.http.services import Services
from huajuan.jobs.dispatcher import Dispatcher
from huajuan.storage.pictures import Pictures
from tests.commands.people import a_person
from tests.inference_client.conftest import RunningDemo
from tests.jobs.conftest import Pair
from tests.jobs.outcome import BRISK, IMPATIENT, asked, image_of, outcome
from tests.services import services_with_servers, until

LONG = ImageParameters("moon over a lake", 48, 48, 1000, "DDIM", "7")
TIMES = 50


def is_idle(server: RunningDemo) -> bool:
    return not server.demo.jobs.remaining()


def runs(server: RunningDemo, image_id: UUID) -> bool:
    running = server.demo.jobs.running
    return running is not None and running.prompt_id == str(image_id)


def queues(server: RunningDemo, image_id: UUID) -> bool:
    return any(job.prompt_id == str(image_id) for *_, job in server.demo.jobs.pending)


@pytest.fixture
def server(pair: Pair) -> RunningDemo:
    pair[0].slow_down(0.1)
    return pair[0]


async def check_cancelled(services: Services, account_id: UUID, image_id: UUID) -> None:
    ended = await outcome(services, account_id, image_id, pictures=None)
    assert (ended.topic, ended.reason) == ("image.cancelled", CANCELLED)


async def test_a_running_job_is_interrupted(database_url: str, server: RunningDemo) -> None:
    async with services_with_servers(database_url, server.url, dispatch=BRISK, painter=IMPATIENT) as services:
        ann = await a_person(services, check_ins=1)
        image_id = await asked(services, ann, LONG)
        await until(lambda: runs(server, image_id))
        await cancel_image(services.job_runner, ann, image_id)
        await check_cancelled(services, ann, image_id)
        await until(lambda: is_idle(server))
        assert server.demo.jobs.runs[str(image_id)] == 1
        await until(lambda: not server.demo.jobs.ended)


async def test_waiting_jobs_are_cancelled_and_the_running_one_continues(
    database_url: str, server: RunningDemo
) -> None:
    """One job waits in the server's queue, one in ours."""
    two = msgspec.structs.replace(BRISK, jobs_per_server_max=2)
    async with services_with_servers(database_url, server.url, dispatch=two, painter=IMPATIENT) as services:
        ann, ben, eve = [await a_person(services, name, check_ins=1) for name in ("ann", "ben", "eve")]
        running = await asked(services, ann, LONG)
        await until(lambda: runs(server, running))
        there, here = await asked(services, ben), await asked(services, eve)
        await until(lambda: queues(server, there))
        for account_id, image_id in ((eve, here), (ben, there)):
            await cancel_image(services.job_runner, account_id, image_id)
        await until(lambda: not queues(server, there))
        assert runs(server, running)
        await cancel_image(services.job_runner, ann, running)
        for account_id, image_id in ((ann, running), (ben, there), (eve, here)):
            await check_cancelled(services, account_id, image_id)
        assert (server.demo.jobs.runs[str(there)], server.demo.jobs.runs[str(here)]) == (0, 0)


async def test_cancelling_an_ended_job_changes_nothing(database_url: str, pair: Pair) -> None:
    async with services_with_servers(
        database_url, pair[0].url, dispatch=BRISK, painter=IMPATIENT
    ) as services:
        ann = await a_person(services, check_ins=1)
        image_id = await asked(services, ann)
        before = await outcome(services, ann, image_id)
        ending = await cancel_image(services.job_runner, ann, image_id)
        assert (ending.picture, ending.reason) == ((await image_of(services, image_id)).picture, None)
        assert await outcome(services, ann, image_id) == before


async def test_a_missed_notification_still_stops_the_server(
    database_url: str, server: RunningDemo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Dispatcher, Dispatcher.on_notification.__name__, lambda *_: None)
    async with services_with_servers(database_url, server.url, dispatch=BRISK, painter=IMPATIENT) as services:
        ann = await a_person(services, check_ins=1)
        image_id = await asked(services, ann, LONG)
        await until(lambda: runs(server, image_id))
        await cancel_image(services.job_runner, ann, image_id)
        await until(lambda: is_idle(server))
        await check_cancelled(services, ann, image_id)


async def test_cancelling_while_the_picture_is_stored_leaves_no_file(
    database_url: str, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writing the file cannot be interrupted."""
    real, begun, may_go_on = Pictures.put_if_absent, asyncio.Event(), asyncio.Event()

    async def slowly(pictures: Pictures, image_id: UUID, content: bytes) -> bool:
        begun.set()
        await may_go_on.wait()
        return await real(pictures, image_id, content)

    puts: list[asyncio.Task[bool]] = []

    async def put(pictures: Pictures, image_id: UUID, content: bytes) -> bool:
        puts.append(asyncio.create_task(slowly(pictures, image_id, content)))
        return await asyncio.shield(puts[0])

    monkeypatch.setattr(Pictures, "put_if_absent", put)
    async with services_with_servers(
        database_url, pair[0].url, dispatch=BRISK, painter=IMPATIENT
    ) as services:
        ann = await a_person(services, check_ins=1)
        image_id = await asked(services, ann)
        await begun.wait()
        await cancel_image(services.job_runner, ann, image_id)
        await asyncio.sleep(0.3)  # it has been notified by now
        may_go_on.set()
        await puts[0]
        await until(lambda: not services.job_runner._jobs and not services.job_runner._background.tasks)
        await check_cancelled(services, ann, image_id)


async def test_a_cancellation_racing_with_the_end_leaves_one_outcome(database_url: str, pair: Pair) -> None:
    draw = random.Random(6)
    async with services_with_servers(
        database_url, pair[0].url, dispatch=BRISK, painter=IMPATIENT
    ) as services:
        undisturbed, *people = [await a_person(services, f"ann{n}", check_ins=1) for n in range(TIMES + 1)]
        seconds = await seconds_of_a_picture(services, undisturbed)
        topics: list[str] = []
        for number, ann in enumerate(people, 1):
            image_id = await asked(services, ann)
            await asyncio.sleep(draw.uniform(0, 2 * seconds * number / TIMES))
            ending = await cancel_image(services.job_runner, ann, image_id)
            ended = await outcome(services, ann, image_id, pictures=1 + topics.count("image.drawn"))
            assert (ending.picture is None, ending.reason) == (ended.topic == "image.cancelled", ended.reason)
            topics.append(ended.topic)
        assert set(topics) == {"image.drawn", "image.cancelled"}
        await until(lambda: is_idle(pair[0]))


async def seconds_of_a_picture(services: Services, account_id: UUID) -> float:
    """The time from request to end on this machine."""
    began = time.monotonic()
    image_id = await asked(services, account_id)
    assert (await outcome(services, account_id, image_id)).topic == "image.drawn"
    return time.monotonic() - began
