"""Generating an image: drawn and paid, or not drawn and not paid, whatever happens in between."""

import asyncio
import hashlib
from uuid import UUID, uuid4

import pytest

from huajuan.commands.generate_image import generate_image
from huajuan.domain.image import Image
from huajuan.domain.refusals import NotEnoughPoints
from huajuan.event_store.errors import LogBusy
from huajuan.http.services import Desk
from huajuan.inference_client import DrawingFailed, OutcomeUnknown, ServerUnavailable
from huajuan.jobs.limits import DispatchLimits
from tests.commands.people import SUN, a_person, a_picture, account_of
from tests.jobs.fake_host import FakeHost, Unreachable, Vanished, png
from tests.services import desk_on, until

QUICK = DispatchLimits(rest_seconds_min=0.02, nobody_seconds_max=0.1, overdue_every_seconds=0.05)


async def leases(desk: Desk) -> int:
    async with desk.store._pool.connection() as connection:
        cursor = await connection.execute("SELECT count(*) FROM operations.job_leases")
        return int((await cursor.fetchall())[0][0])


async def no_leases(desk: Desk) -> bool:
    return not await leases(desk)


async def nothing_held(desk: Desk, account_id: UUID) -> bool:
    return not (await account_of(desk, account_id)).held


async def test_a_drawn_picture_is_stored_recorded_and_paid(database_url: str) -> None:
    host = FakeHost()
    async with desk_on(database_url, host) as desk:
        ann = await a_person(desk, check_ins=1)
        ending = await a_picture(desk, ann)
        assert (ending.reason, ending.balance) == (None, 80)
        assert ending.picture
        content = await desk.pictures.read(ending.picture, 0, (await desk.pictures.look(ending.picture)).size)
        assert content == png(220, 200)
        image = await desk.store.find(Image, host.drawn[0].prompt_id)
        assert image
        assert (image.picture, image.is_open) == (ending.picture, False)
        assert (await account_of(desk, ann)).held == {}
        async with desk.store._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT topic, convert_from(state, 'UTF8')::json->>'digest' "
                "FROM log.huajuan_events WHERE notification_id = %s",
                (ending.position,),
            )
            assert await cursor.fetchall() == [("image.drawn", hashlib.sha256(content).hexdigest())]
        await until(lambda: no_leases(desk))


async def test_the_painter_gets_what_was_asked_for(database_url: str) -> None:
    host = FakeHost()
    async with desk_on(database_url, host, checkpoint="ink.safetensors") as desk:
        await a_picture(desk, await a_person(desk, check_ins=1))
    (drawing,) = host.drawn
    assert (drawing.prompt, drawing.width, drawing.height, drawing.steps) == ("sun", 220, 200, 30)
    assert (drawing.sampling_method, drawing.noise_seed) == ("DDIM", 7)
    assert drawing.checkpoint == "ink.safetensors"


async def test_without_points_nothing_is_asked_of_anybody(database_url: str) -> None:
    host = FakeHost()
    async with desk_on(database_url, host) as desk:
        ann = await a_person(desk)
        with pytest.raises(NotEnoughPoints):
            await a_picture(desk, ann)
        assert (host.drawn, await leases(desk)) == ([], 0)


async def test_20_at_once_on_100_points_make_exactly_5(database_url: str) -> None:
    hosts = FakeHost(), FakeHost()
    many = DispatchLimits(jobs_of_account_max=20)
    async with (
        desk_on(database_url, hosts[0], dispatch=many) as here,
        desk_on(database_url, hosts[1], dispatch=many) as there,
    ):
        ann = await a_person(here, check_ins=1)
        asked = [a_picture(desk, ann) for _ in range(10) for desk in (here, there)]
        results = await asyncio.gather(*asked, return_exceptions=True)
        assert sum(isinstance(r, NotEnoughPoints) for r in results) == 15
        assert len({r.picture for r in results if not isinstance(r, BaseException)}) == 5
        assert sum(len(h.drawn) for h in hosts) == 5
        account = await account_of(here, ann)
        assert (account.balance, account.held) == (0, {})


@pytest.mark.parametrize(
    "failure", [DrawingFailed("out of memory", "at /srv/x.py"), RuntimeError("a bug"), OSError("disk")]
)
async def test_a_failed_drawing_returns_the_points_in_the_append_that_records_it(
    database_url: str, failure: Exception
) -> None:
    host = FakeHost()
    host.failures = [failure]
    async with desk_on(database_url, host) as desk:
        ann = await a_person(desk, check_ins=1)
        ending = await a_picture(desk, ann)
        assert (ending.picture, ending.balance) == (None, 100)
        assert ending.reason in ("out of memory", "the picture could not be made")
        async with desk.store._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT topic, convert_from(state, 'UTF8')::json->>'reason' FROM log.huajuan_events "
                "WHERE notification_id > %s - 2 ORDER BY 1",
                (ending.position,),
            )
            assert await cursor.fetchall() == [
                ("account.points_returned", ending.reason),
                ("image.drawing_failed", ending.reason),
            ]
        await until(lambda: no_leases(desk))


async def test_a_picture_that_cannot_be_stored_is_not_paid(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def disk_full(*_: object) -> bool:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("huajuan.storage.pictures.Pictures.put_first", disk_full)
    async with desk_on(database_url) as desk:
        ann = await a_person(desk, check_ins=1)
        ending = await a_picture(desk, ann)
        assert (ending.picture, ending.balance) == (None, 100)


async def test_a_host_that_queued_nothing_is_followed_by_another(database_url: str) -> None:
    down, up = Unreachable(ServerUnavailable("down")), FakeHost()
    async with desk_on(database_url, down, up) as desk:
        ending = await a_picture(desk, await a_person(desk, check_ins=1))
        assert ending.picture
        assert len(up.drawn) == 1


async def test_an_unknown_outcome_is_asked_again_until_it_is_known(database_url: str) -> None:
    host = FakeHost()
    host.failures = [OutcomeUnknown("silence"), OutcomeUnknown("silence")]
    async with desk_on(database_url, host, dispatch=DispatchLimits(rest_seconds_min=0.01)) as desk:
        ending = await a_picture(desk, await a_person(desk, check_ins=1))
        assert (ending.balance, len(host.drawn)) == (80, 1)
        assert ending.picture


async def test_at_the_deadline_silence_is_no_picture(database_url: str) -> None:
    host = Vanished(OutcomeUnknown("silence"))
    limits = DispatchLimits(job_seconds_max=0.3, rest_seconds_min=0.02, overdue_every_seconds=0.05)
    async with desk_on(database_url, host, dispatch=limits) as desk:
        ending = await a_picture(desk, await a_person(desk, check_ins=1))
        assert (ending.reason, ending.balance) == ("the picture took too long", 100)


async def test_a_client_that_waited_too_long_has_its_job_cancelled(database_url: str) -> None:
    host = FakeHost()
    host.gate.clear()
    async with desk_on(database_url, host, generate_wait_seconds=0.3) as desk:
        ann = await a_person(desk, check_ins=1)
        ending = await a_picture(desk, ann)
        assert (ending.reason, ending.balance) == ("nobody waited for it any longer", 100)
        await until(lambda: host.cancelled == [host.drawn[0].prompt_id])
        await until(lambda: no_leases(desk))


async def test_a_client_that_goes_away_loses_nothing(database_url: str) -> None:
    host = FakeHost()
    host.gate.clear()
    async with desk_on(database_url, host) as desk:
        ann = await a_person(desk, check_ins=1)
        leaving = asyncio.create_task(a_picture(desk, ann))
        await until(lambda: bool(host.drawn))
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        assert (await account_of(desk, ann)).held
        host.gate.set()
        await until(lambda: nothing_held(desk, ann))
        image = await desk.store.find(Image, host.drawn[0].prompt_id)
        assert image
        assert image.picture


async def test_a_log_that_is_too_busy_charges_nothing_and_leaves_no_lease(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with desk_on(database_url) as desk:
        ann = await a_person(desk, check_ins=1)

        async def busy(*_: object) -> list[int]:
            raise LogBusy

        monkeypatch.setattr(desk.store._writer, "append", busy)
        with pytest.raises(LogBusy):
            await generate_image(desk.room, ann, uuid4(), SUN, 30)
        monkeypatch.undo()
        assert ((await account_of(desk, ann)).balance, await leases(desk)) == (100, 0)
