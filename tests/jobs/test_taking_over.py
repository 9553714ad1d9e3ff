"""Jobs whose process died: another takes them up where they were, and each comes to its one end."""

import asyncio
from datetime import timedelta
from uuid import UUID, uuid4

from huajuan.commands.generate_image import _ask
from huajuan.domain.image import Image
from huajuan.http.services import Desk
from huajuan.inference_client import JobState, OutcomeUnknown
from huajuan.jobs.limits import DispatchLimits
from huajuan.jobs.queue import Claimed
from tests.commands.people import SUN, a_person, a_picture, account_of
from tests.commands.test_generate_image import leases, no_leases
from tests.jobs.fake_host import FakeHost, Unreachable
from tests.services import desk_on, until

SHORT = DispatchLimits(
    lease_seconds=0.2, heartbeat_seconds=3600, claim_every_seconds=0.05, rest_seconds_min=0.02,
    rest_seconds_max=0.05, overdue_every_seconds=0.05, nobody_seconds_max=3600, unasked_seconds_max=0.3,
    unasked_pause_seconds=0.02,
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


async def test_a_job_that_no_painter_knows_any_more_is_drawn_again(database_url: str) -> None:
    ann, image_id = await abandon(database_url, known=FakeHost())
    host = FakeHost()
    async with desk_on(database_url, host) as desk:
        image = await ended(desk, image_id)
        assert (image.attempts, bool(image.picture)) == (2, True)
        assert [drawing.prompt_id for drawing in host.drawn] == [image_id]
        assert (await account_of(desk, ann)).balance == 80


async def test_the_other_host_is_asked_too(database_url: str) -> None:
    knows, idle = FakeHost(), FakeHost()
    _, image_id = await abandon(database_url, known=knows)
    async with desk_on(database_url, idle, knows) as desk:
        assert (await ended(desk, image_id)).picture
        assert (idle.drawn, knows.drawn) == ([], [])


async def test_while_the_only_painter_is_silent_nothing_is_said_before_the_deadline(
    database_url: str,
) -> None:
    ann, image_id = await abandon(database_url, known=FakeHost())
    async with desk_on(database_url, Unreachable(OutcomeUnknown("silence")), dispatch=SHORT) as desk:
        await asyncio.sleep(0.3)
        image = await desk.store.find(Image, image_id)
        assert image
        assert (image.is_open, image.attempts) == (True, 1)
        desk.store.clock = lambda: image.deadline
        assert (await ended(desk, image_id)).failure == "the picture took too long"
        assert (await account_of(desk, ann)).balance == 100


async def test_what_two_processes_take_over_ends_once(database_url: str) -> None:
    host = FakeHost()
    ann, image_id = await abandon(database_url, known=host)
    async with desk_on(database_url, host) as one, desk_on(database_url, host) as other:
        assert (await ended(one, image_id)).picture
        account = await account_of(other, ann)
        assert (account.balance, account.held) == (80, {})


async def test_a_second_teller_changes_nothing_and_its_picture_goes(database_url: str) -> None:
    host = FakeHost()
    ann, image_id = await abandon(database_url, known=host)
    async with desk_on(database_url, host, dispatch=SHORT) as desk:
        assert (await ended(desk, image_id)).picture
    ann, image_id = await abandon_named(database_url, "ben", host)
    host.gate.clear()
    async with desk_on(database_url, host, dispatch=SHORT) as slow, desk_on(database_url, host) as quick:
        await until(lambda: image_id in slow.room._jobs)
        await quick.room.give_up(Claimed(image_id, 9, 0, None), "lost")
        host.gate.set()
        assert (await ended(slow, image_id)).failure == "lost"
        await until(lambda: not slow.room._jobs)
        account = await account_of(quick, ann)
        assert (account.balance, account.held) == (100, {})


async def abandon_named(dsn: str, name: str, known: FakeHost) -> tuple[UUID, UUID]:
    host = FakeHost()
    host.gate.clear()
    async with desk_on(dsn, host, dispatch=SHORT) as desk:
        person = await a_person(desk, name, check_ins=1)
        waiting = asyncio.create_task(a_picture(desk, person))
        await until(lambda: bool(host.drawn))
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    known.known |= host.known
    return person, host.drawn[0].prompt_id


async def test_a_job_in_hand_is_not_taken(database_url: str) -> None:
    host, other = FakeHost(), FakeHost()
    host.gate.clear()
    async with desk_on(database_url, host) as busy:
        ann = await a_person(busy, check_ins=1)
        waiting = asyncio.create_task(a_picture(busy, ann))
        await until(lambda: bool(host.drawn))
        async with desk_on(database_url, other) as idle:
            assert await idle.room.queue.claim("http://fake-7", 5) is None
            host.gate.set()
            assert (await waiting).picture
            assert other.drawn == []


async def test_a_job_never_asked_for_goes_once_its_request_can_no_longer_come(database_url: str) -> None:
    async with desk_on(database_url, dispatch=SHORT) as desk:
        ann = await a_person(desk)
        await desk.room.queue.open(uuid4(), ann, desk.store.clock())
        assert await leases(desk) == 1
        await until(lambda: no_leases(desk))


async def test_a_request_on_record_has_its_job_though_a_crash_took_the_row_back(database_url: str) -> None:
    async with desk_on(database_url) as desk:
        ann, image_id = await a_person(desk, check_ins=1), uuid4()
        await desk.room.queue.open(image_id, ann, desk.store.clock())
        await desk.room.queue.close(image_id)
        await _ask(desk.room, ann, image_id, SUN, desk.store.clock() + timedelta(minutes=1))
        assert (await ended(desk, image_id)).picture


async def test_the_leases_of_open_jobs_are_renewed(database_url: str) -> None:
    host = FakeHost()
    host.gate.clear()
    limits = DispatchLimits(lease_seconds=0.3, heartbeat_seconds=0.05)
    async with desk_on(database_url, host, dispatch=limits) as desk:
        ann = await a_person(desk, check_ins=1)
        waiting = asyncio.create_task(a_picture(desk, ann))
        await asyncio.sleep(0.6)
        assert await desk.room.queue.claim("http://fake-7", 5) is None
        host.gate.set()
        assert (await waiting).picture
        assert host.known == {host.drawn[0].prompt_id: JobState.SUCCEEDED}
        assert len(host.drawn) == 1
