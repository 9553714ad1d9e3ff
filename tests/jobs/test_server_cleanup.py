"""Cleanup at the servers after the end of a job: history entries are deleted and other runs stopped."""

import asyncio
from uuid import UUID

from huajuan.commands.generate_image import cancel_image
from huajuan.demo_comfyui.faults import Mode
from huajuan.inference_client import DrawingFailed, JobState, OutcomeUnknown
from huajuan.jobs.runner import TOO_LONG
from tests.commands.people import a_person
from tests.jobs.conftest import Pair
from tests.jobs.fake_server import FailingServer, FakeInferenceServer
from tests.jobs.outcome import BRISK, IMPATIENT, asked, held_back, image_of, outcome
from tests.services import services_on, services_with_servers, until


async def test_a_drawn_job_is_deleted_from_the_history_of_its_server(database_url: str, pair: Pair) -> None:
    async with services_with_servers(
        database_url, pair[0].url, dispatch=BRISK, painter=IMPATIENT
    ) as services:
        ann = await a_person(services, check_ins=1)
        jobs = pair[0].demo.jobs
        for _ in range(3):
            image_id = await asked(services, ann)
            await until(lambda image_id=image_id: jobs.runs[str(image_id)] == 1)  # type: ignore[misc]
            await until(lambda: not jobs.ended and not jobs.remaining())
            assert (await image_of(services, image_id)).picture


async def test_the_history_is_deleted_only_after_the_outcome_is_recorded(database_url: str) -> None:
    host = FakeInferenceServer()
    told: list[str | None] = []
    async with services_on(database_url, host, dispatch=BRISK) as services:
        ann = await a_person(services, check_ins=1)

        async def forget(prompt_id: UUID) -> None:
            told.append((await image_of(services, prompt_id)).picture)

        host.forget = forget  # type: ignore[method-assign]
        image_id = await asked(services, ann)
        await until(lambda: bool(told))
        assert told == [(await image_of(services, image_id)).picture]


async def test_the_history_of_a_failed_job_stays(database_url: str) -> None:
    host = FailingServer(DrawingFailed("out of memory"))
    async with services_on(database_url, host, dispatch=BRISK) as services:
        ann = await a_person(services, check_ins=1)
        await outcome(services, ann, await asked(services, ann))
        await until(lambda: not services.job_runner._background.tasks)
    assert (host.forgotten, host.cancelled) == ([], [])


async def test_a_cancelled_job_is_deleted_from_the_history_once_it_has_ended(database_url: str) -> None:
    """Even if it succeeded after all. A server does not delete a running job."""
    host = FakeInferenceServer()
    host.gate.clear()
    async with services_on(database_url, host, dispatch=BRISK) as services:
        ann = await a_person(services, check_ins=1)
        image_id = await asked(services, ann)
        await until(lambda: bool(host.drawn))
        await cancel_image(services.job_runner, ann, image_id)
        await until(lambda: image_id in host.cancelled)
        await asyncio.sleep(0.3)
        assert host.forgotten == []
        host.known[image_id] = JobState.SUCCEEDED
        # A second cleanup may delete the history entry again, which has no effect.
        await until(lambda: set(host.forgotten) == {image_id})


async def test_a_job_drawn_elsewhere_is_stopped_at_the_other_server(database_url: str, pair: Pair) -> None:
    """It answers no lookups, but continues to draw."""
    slow, good = pair
    slow.fault(Mode.NEVER_ENDING)
    async with services_with_servers(
        database_url, slow.url, good.url, dispatch=BRISK, painter=IMPATIENT
    ) as services:
        ann = await a_person(services, check_ins=1)
        async with held_back(services, good.url):
            image_id = await asked(services, ann)
            await until(lambda: slow.demo.jobs.running is not None)
            slow.fault(Mode.LOOKUP_500, times=None)
            await until(lambda: len(services.job_runner.servers) < 2)
        assert (await outcome(services, ann, image_id)).topic == "image.drawn"
        await until(lambda: not slow.demo.jobs.remaining())
        assert slow.demo.jobs.ended[str(image_id)].status == "cancelled"


async def test_at_the_deadline_every_server_is_stopped(database_url: str) -> None:
    hosts = FailingServer(OutcomeUnknown("silence")), FakeInferenceServer()
    async with services_on(database_url, *hosts, dispatch=BRISK) as services:
        ann = await a_person(services, check_ins=1)
        async with held_back(services, "http://fake-1"):
            image_id = await asked(services, ann)
            await until(lambda: bool(hosts[0].drawn))
            image = await image_of(services, image_id)
            services.store.clock = lambda: image.deadline
            assert (await outcome(services, ann, image_id)).reason == TOO_LONG
            await until(lambda: all(image_id in host.cancelled for host in hosts))
