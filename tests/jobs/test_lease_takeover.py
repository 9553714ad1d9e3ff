"""Jobs whose process died are taken over by another process, and each ends once."""

import asyncio
from datetime import timedelta
from uuid import UUID, uuid4

from huajuan.commands.generate_image import _append_request
from huajuan.domain.image import Image
from huajuan.http.services import Services
from huajuan.inference_client import JobState, OutcomeUnknown
from huajuan.jobs.queue import ClaimedJob, DispatchLimits
from tests.commands.people import SUN, a_person, a_picture, account_of
from tests.commands.test_generate_image import leases, no_leases
from tests.jobs.fake_server import FakeInferenceServer, UnreachableServer
from tests.services import services_on, until

SHORT = DispatchLimits(
    lease_seconds=0.2, heartbeat_seconds=3600, claim_interval_seconds=0.05, cooldown_seconds_min=0.02,
    cooldown_seconds_max=0.05, overdue_interval_seconds=0.05, no_server_timeout_seconds=3600,
    orphan_lease_seconds_max=0.3,
    orphan_lease_pause_seconds=0.02,
)  # fmt: skip


async def abandon(dsn: str, *, known: FakeInferenceServer) -> tuple[UUID, UUID]:
    """A process stops with an open job of Ann; the server `known` has the job."""
    host = FakeInferenceServer()
    host.gate.clear()
    async with services_on(dsn, host, dispatch=SHORT) as services:
        ann = await a_person(services, check_ins=1)
        waiting = asyncio.create_task(a_picture(services, ann))
        await until(lambda: bool(host.drawn))
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    known.known |= host.known
    return ann, host.drawn[0].prompt_id


async def ended(services: Services, image_id: UUID) -> Image:
    async with asyncio.timeout(10):
        while True:
            image = await services.store.find(Image, image_id)
            if image and not image.is_open and not await leases(services):
                return image
            await asyncio.sleep(0.01)


async def test_a_picture_drawn_while_no_process_ran_is_fetched_at_the_next_start(database_url: str) -> None:
    host = FakeInferenceServer()
    ann, image_id = await abandon(database_url, known=host)
    async with services_on(database_url, host) as services:
        assert (await ended(services, image_id)).picture
        assert (await account_of(services, ann)).balance == 80
        assert host.drawn == []  # nothing was sent again


async def test_a_job_unknown_to_all_servers_is_drawn_again(database_url: str) -> None:
    ann, image_id = await abandon(database_url, known=FakeInferenceServer())
    host = FakeInferenceServer()
    async with services_on(database_url, host) as services:
        image = await ended(services, image_id)
        assert (image.attempts, bool(image.picture)) == (2, True)
        assert [drawing.prompt_id for drawing in host.drawn] == [image_id]
        assert (await account_of(services, ann)).balance == 80


async def test_a_job_is_looked_up_at_all_servers(database_url: str) -> None:
    knows, idle = FakeInferenceServer(), FakeInferenceServer()
    _, image_id = await abandon(database_url, known=knows)
    async with services_on(database_url, idle, knows) as services:
        assert (await ended(services, image_id)).picture
        assert (idle.drawn, knows.drawn) == ([], [])


async def test_an_unreachable_server_leaves_the_job_open_until_the_deadline(
    database_url: str,
) -> None:
    ann, image_id = await abandon(database_url, known=FakeInferenceServer())
    async with services_on(
        database_url, UnreachableServer(OutcomeUnknown("silence")), dispatch=SHORT
    ) as services:
        await asyncio.sleep(0.3)
        image = await services.store.find(Image, image_id)
        assert image
        assert (image.is_open, image.attempts) == (True, 1)
        services.store.clock = lambda: image.deadline
        assert (await ended(services, image_id)).failure == "the picture took too long"
        assert (await account_of(services, ann)).balance == 100


async def test_a_job_taken_over_by_two_processes_ends_once(database_url: str) -> None:
    host = FakeInferenceServer()
    ann, image_id = await abandon(database_url, known=host)
    async with services_on(database_url, host) as one, services_on(database_url, host) as other:
        assert (await ended(one, image_id)).picture
        account = await account_of(other, ann)
        assert (account.balance, account.held) == (80, {})


async def test_a_second_outcome_is_ignored_and_its_picture_removed(database_url: str) -> None:
    host = FakeInferenceServer()
    ann, image_id = await abandon(database_url, known=host)
    async with services_on(database_url, host, dispatch=SHORT) as services:
        assert (await ended(services, image_id)).picture
    ann, image_id = await abandon_named(database_url, "ben", host)
    host.gate.clear()
    async with (
        services_on(database_url, host, dispatch=SHORT) as slow,
        services_on(database_url, host) as quick,
    ):
        await until(lambda: image_id in slow.job_runner._jobs)
        await quick.job_runner.fail(ClaimedJob(image_id, 9, 0, None), "lost")
        host.gate.set()
        assert (await ended(slow, image_id)).failure == "lost"
        await until(lambda: not slow.job_runner._jobs)
        account = await account_of(quick, ann)
        assert (account.balance, account.held) == (100, {})


async def abandon_named(dsn: str, name: str, known: FakeInferenceServer) -> tuple[UUID, UUID]:
    host = FakeInferenceServer()
    host.gate.clear()
    async with services_on(dsn, host, dispatch=SHORT) as services:
        person = await a_person(services, name, check_ins=1)
        waiting = asyncio.create_task(a_picture(services, person))
        await until(lambda: bool(host.drawn))
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    known.known |= host.known
    return person, host.drawn[0].prompt_id


async def test_a_leased_job_is_not_claimed(database_url: str) -> None:
    host, other = FakeInferenceServer(), FakeInferenceServer()
    host.gate.clear()
    async with services_on(database_url, host) as busy:
        ann = await a_person(busy, check_ins=1)
        waiting = asyncio.create_task(a_picture(busy, ann))
        await until(lambda: bool(host.drawn))
        async with services_on(database_url, other) as idle:
            assert await idle.job_runner.queue.claim("http://fake-7", 5) is None
            host.gate.set()
            assert (await waiting).picture
            assert other.drawn == []


async def test_a_job_without_a_request_is_deleted_after_the_grace_time(database_url: str) -> None:
    async with services_on(database_url, dispatch=SHORT) as services:
        ann = await a_person(services)
        await services.job_runner.queue.open(uuid4(), ann, services.store.clock())
        assert await leases(services) == 1
        await until(lambda: no_leases(services))


async def test_a_recorded_request_has_its_job_after_a_crash_lost_the_row(database_url: str) -> None:
    async with services_on(database_url) as services:
        ann, image_id = await a_person(services, check_ins=1), uuid4()
        await services.job_runner.queue.open(image_id, ann, services.store.clock())
        await services.job_runner.queue.close(image_id)
        await _append_request(
            services.job_runner, ann, image_id, SUN, services.store.clock() + timedelta(minutes=1)
        )
        assert (await ended(services, image_id)).picture


async def test_the_leases_of_open_jobs_are_renewed(database_url: str) -> None:
    host = FakeInferenceServer()
    host.gate.clear()
    limits = DispatchLimits(lease_seconds=0.3, heartbeat_seconds=0.05)
    async with services_on(database_url, host, dispatch=limits) as services:
        ann = await a_person(services, check_ins=1)
        waiting = asyncio.create_task(a_picture(services, ann))
        await asyncio.sleep(0.6)
        assert await services.job_runner.queue.claim("http://fake-7", 5) is None
        host.gate.set()
        assert (await waiting).picture
        assert host.known == {host.drawn[0].prompt_id: JobState.SUCCEEDED}
        assert len(host.drawn) == 1
