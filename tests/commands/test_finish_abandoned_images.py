"""Abandoned images: whatever a dead process left open is brought to its one end by another."""

import asyncio
from uuid import UUID, uuid4

from huajuan.commands.finish_abandoned_images import finish_abandoned_images
from huajuan.dispatch.limits import DispatchLimits
from huajuan.domain.image import Image
from huajuan.http.desk import Desk
from huajuan.inference_client import JobState, OutcomeUnknown
from tests.commands.people import a_person, a_picture, account_of
from tests.commands.test_generate_image import leases
from tests.desk import desk_on, until
from tests.dispatch.fake_host import FakeHost, Unreachable

SHORT = DispatchLimits(
    lease_seconds=0.2, heartbeat_seconds=3600, abandoned_every_seconds=3600,
    retry_pause_seconds=0.02, unasked_seconds_max=0.3,
)  # fmt: skip


async def abandon(dsn: str, *, known: FakeHost) -> tuple[UUID, UUID]:
    """Ann asks for a picture, and her process stops with the job open; `known` has it."""
    host = FakeHost()
    host.gate.clear()
    async with desk_on(dsn, host, dispatch=SHORT) as desk:
        ann = await a_person(desk, check_ins=1)
        waiting = asyncio.create_task(a_picture(desk, ann))
        await until(lambda: bool(host.drawn))
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    known.known |= host.known
    return ann, host.drawn[0].prompt_id


async def ended(desk: Desk, image_id: UUID) -> Image:
    async with asyncio.timeout(10):
        while True:
            image = await desk.store.find(Image, image_id)
            if image and not image.is_open and not await leases(desk):
                return image
            await asyncio.sleep(0.01)


async def test_a_picture_drawn_meanwhile_is_fetched_and_paid_at_the_next_start(database_url: str) -> None:
    host = FakeHost()
    ann, image_id = await abandon(database_url, known=host)
    async with desk_on(database_url, host) as desk:
        assert (await ended(desk, image_id)).picture
        assert (await account_of(desk, ann)).balance == 80
        assert host.drawn == []  # nothing was sent again


async def test_a_job_that_nobody_knows_any_more_is_not_paid(database_url: str) -> None:
    ann, image_id = await abandon(database_url, known=FakeHost())
    async with desk_on(database_url, FakeHost()) as desk:
        assert (await ended(desk, image_id)).failure == "the painter no longer knows the job"
        assert (await account_of(desk, ann)).balance == 100


async def test_the_other_host_is_asked_too(database_url: str) -> None:
    knows = FakeHost()
    _, image_id = await abandon(database_url, known=knows)
    async with desk_on(database_url, FakeHost(), knows) as desk:
        assert (await ended(desk, image_id)).picture


async def test_while_a_painter_is_silent_nothing_is_said_before_the_deadline(database_url: str) -> None:
    ann, image_id = await abandon(database_url, known=FakeHost())
    async with desk_on(database_url, Unreachable(OutcomeUnknown("silence")), dispatch=SHORT) as desk:
        await asyncio.sleep(0.2)
        image = await desk.store.find(Image, image_id)
        assert image
        assert image.is_open
        desk.store.clock = lambda: image.deadline
        assert (await ended(desk, image_id)).failure == "the painter did not answer in time"
        assert (await account_of(desk, ann)).balance == 100


async def test_what_two_processes_take_over_ends_once(database_url: str) -> None:
    host = FakeHost()
    ann, image_id = await abandon(database_url, known=host)
    async with desk_on(database_url, host) as one, desk_on(database_url, host) as other:
        await asyncio.gather(*(finish_abandoned_images(desk.room) for desk in (one, other)))
        assert (await ended(one, image_id)).picture
        account = await account_of(other, ann)
        assert (account.balance, account.held) == (80, {})


async def test_a_second_teller_changes_nothing(database_url: str) -> None:
    host = FakeHost()
    ann, image_id = await abandon(database_url, known=host)
    async with desk_on(database_url, FakeHost(), dispatch=SHORT) as lost_it:
        assert (await ended(lost_it, image_id)).failure
        image = await lost_it.store.find(Image, image_id)
        assert image
        async with desk_on(database_url, host, dispatch=SHORT) as has_it:
            ending = await has_it.room.finish(image)
            assert (ending.picture, ending.balance) == (None, 100)
        assert (await account_of(lost_it, ann)).balance == 100


async def test_a_lease_in_use_is_not_taken(database_url: str) -> None:
    host = FakeHost()
    host.gate.clear()
    async with desk_on(database_url, host) as busy, desk_on(database_url, host) as idle:
        ann = await a_person(busy, check_ins=1)
        waiting = asyncio.create_task(a_picture(busy, ann))
        await until(lambda: bool(host.drawn))
        assert await finish_abandoned_images(idle.room) == 0
        host.gate.set()
        assert (await waiting).picture


async def test_a_lease_of_a_job_never_asked_for_goes_once_none_can_come(database_url: str) -> None:
    async with desk_on(database_url, dispatch=SHORT) as desk:
        await desk.room.leases.open(uuid4(), "fake:0")
        await asyncio.sleep(0.25)
        assert await finish_abandoned_images(desk.room) == 0
        assert await leases(desk) == 1
        await asyncio.sleep(0.25)
        await finish_abandoned_images(desk.room)
        assert await leases(desk) == 0


async def test_the_leases_of_open_jobs_are_renewed(database_url: str) -> None:
    host = FakeHost()
    host.gate.clear()
    limits = DispatchLimits(lease_seconds=0.3, heartbeat_seconds=0.05, abandoned_every_seconds=3600)
    async with desk_on(database_url, host, dispatch=limits) as desk:
        ann = await a_person(desk, check_ins=1)
        waiting = asyncio.create_task(a_picture(desk, ann))
        await asyncio.sleep(0.6)
        assert await desk.room.leases.take_lapsed(10) == []
        host.gate.set()
        assert (await waiting).picture
        assert host.known == {host.drawn[0].prompt_id: JobState.SUCCEEDED}
