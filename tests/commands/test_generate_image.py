"""Generating an image: it is drawn and paid, or neither, whatever happens meanwhile."""

import asyncio
import hashlib
from uuid import UUID, uuid4

import pytest

from huajuan.commands.erase_account import erase_account
from huajuan.commands.generate_image import generate_image
from huajuan.domain.image import Image
from huajuan.domain.refusals import NotEnoughPoints
from huajuan.event_store.errors import DatabaseBusy
from huajuan.http.services import Services
from huajuan.inference_client import DrawingFailed, OutcomeUnknown, ServerUnavailable
from huajuan.jobs.queue import DispatchLimits, NoServerAvailable, QueueFull
from tests.commands.people import SUN, a_person, a_picture, account_of
from tests.jobs.fake_server import FakeInferenceServer, UnreachableServer, VanishedServer, png
from tests.services import services_on, until

QUICK = DispatchLimits(
    cooldown_seconds_min=0.02, no_server_timeout_seconds=0.1, overdue_interval_seconds=0.05
)


async def leases(services: Services) -> int:
    async with services.store._pool.connection() as connection:
        cursor = await connection.execute("SELECT count(*) FROM operations.job_leases")
        return int((await cursor.fetchall())[0][0])


async def no_leases(services: Services) -> bool:
    return not await leases(services)


async def nothing_held(services: Services, account_id: UUID) -> bool:
    return not (await account_of(services, account_id)).held


async def test_a_drawn_picture_is_stored_recorded_and_paid(database_url: str) -> None:
    host = FakeInferenceServer()
    async with services_on(database_url, host) as services:
        ann = await a_person(services, check_ins=1)
        ending = await a_picture(services, ann)
        assert (ending.reason, ending.balance) == (None, 80)
        assert ending.picture
        content = await services.pictures.read(
            ending.picture, 0, (await services.pictures.look_up(ending.picture)).size
        )
        assert content == png(220, 200)
        image = await services.store.find(Image, host.drawn[0].prompt_id)
        assert image
        assert (image.picture, image.is_open) == (ending.picture, False)
        assert (await account_of(services, ann)).held == {}
        async with services.store._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT topic, convert_from(state, 'UTF8')::json->>'digest' "
                "FROM log.huajuan_events WHERE notification_id = %s",
                (ending.position,),
            )
            assert await cursor.fetchall() == [("image.drawn", hashlib.sha256(content).hexdigest())]
        await until(lambda: no_leases(services))


async def test_the_server_receives_the_requested_parameters(database_url: str) -> None:
    host = FakeInferenceServer()
    async with services_on(database_url, host, checkpoint="ink.safetensors") as services:
        await a_picture(services, await a_person(services, check_ins=1))
    (drawing,) = host.drawn
    assert (drawing.prompt, drawing.width, drawing.height, drawing.steps) == ("sun", 220, 200, 30)
    assert (drawing.sampling_method, drawing.noise_seed) == ("DDIM", 7)
    assert drawing.checkpoint == "ink.safetensors"


async def test_without_points_no_job_is_queued(database_url: str) -> None:
    host = FakeInferenceServer()
    async with services_on(database_url, host) as services:
        ann = await a_person(services)
        with pytest.raises(NotEnoughPoints):
            await a_picture(services, ann)
        assert (host.drawn, await leases(services)) == ([], 0)


async def test_20_concurrent_requests_on_100_points_draw_5(database_url: str) -> None:
    hosts = FakeInferenceServer(), FakeInferenceServer()
    many = DispatchLimits(jobs_per_account_max=20)
    async with (
        services_on(database_url, hosts[0], dispatch=many) as here,
        services_on(database_url, hosts[1], dispatch=many) as there,
    ):
        ann = await a_person(here, check_ins=1)
        asked = [a_picture(services, ann) for _ in range(10) for services in (here, there)]
        results = await asyncio.gather(*asked, return_exceptions=True)
        assert sum(isinstance(r, NotEnoughPoints) for r in results) == 15
        assert len({r.picture for r in results if not isinstance(r, BaseException)}) == 5
        assert sum(len(h.drawn) for h in hosts) == 5
        account = await account_of(here, ann)
        assert (account.balance, account.held) == (0, {})


@pytest.mark.parametrize(
    "failure", [DrawingFailed("out of memory", "at /srv/x.py"), RuntimeError("a bug"), OSError("disk")]
)
async def test_a_failure_and_the_returned_points_are_one_append(
    database_url: str, failure: Exception
) -> None:
    host = FakeInferenceServer()
    host.failures = [failure]
    async with services_on(database_url, host) as services:
        ann = await a_person(services, check_ins=1)
        ending = await a_picture(services, ann)
        assert (ending.picture, ending.balance) == (None, 100)
        assert ending.reason in ("out of memory", "the picture could not be made")
        async with services.store._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT topic, convert_from(state, 'UTF8')::json->>'reason' FROM log.huajuan_events "
                "WHERE notification_id > %s - 2 ORDER BY 1",
                (ending.position,),
            )
            assert await cursor.fetchall() == [
                ("account.points_returned", ending.reason),
                ("image.drawing_failed", ending.reason),
            ]
        await until(lambda: no_leases(services))


async def test_a_picture_that_cannot_be_stored_is_not_paid(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def disk_full(*_: object) -> bool:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("huajuan.storage.pictures.Pictures.put_if_absent", disk_full)
    async with services_on(database_url) as services:
        ann = await a_person(services, check_ins=1)
        ending = await a_picture(services, ann)
        assert (ending.picture, ending.balance) == (None, 100)


async def test_an_unreachable_server_is_followed_by_another(database_url: str) -> None:
    down, up = UnreachableServer(ServerUnavailable("down")), FakeInferenceServer()
    async with services_on(database_url, down, up) as services:
        ending = await a_picture(services, await a_person(services, check_ins=1))
        assert ending.picture
        assert len(up.drawn) == 1


async def test_an_unknown_outcome_is_looked_up_again(database_url: str) -> None:
    host = FakeInferenceServer()
    host.failures = [OutcomeUnknown("silence"), OutcomeUnknown("silence")]
    async with services_on(
        database_url, host, dispatch=DispatchLimits(cooldown_seconds_min=0.01)
    ) as services:
        ending = await a_picture(services, await a_person(services, check_ins=1))
        assert (ending.balance, len(host.drawn)) == (80, 1)
        assert ending.picture


async def test_an_unknown_outcome_fails_at_the_deadline(database_url: str) -> None:
    host = VanishedServer(OutcomeUnknown("silence"))
    limits = DispatchLimits(job_seconds_max=0.3, cooldown_seconds_min=0.02, overdue_interval_seconds=0.05)
    async with services_on(database_url, host, dispatch=limits) as services:
        ending = await a_picture(services, await a_person(services, check_ins=1))
        assert (ending.reason, ending.balance) == ("the picture took too long", 100)


async def test_a_job_is_cancelled_when_its_client_waited_too_long(database_url: str) -> None:
    host = FakeInferenceServer()
    host.gate.clear()
    async with services_on(database_url, host, generate_wait_seconds=0.3) as services:
        ann = await a_person(services, check_ins=1)
        ending = await a_picture(services, ann)
        assert (ending.reason, ending.balance) == ("nobody waited for it any longer", 100)
        await until(lambda: host.cancelled == [host.drawn[0].prompt_id])
        await until(lambda: no_leases(services))


async def test_a_disconnected_client_still_gets_its_picture(database_url: str) -> None:
    host = FakeInferenceServer()
    host.gate.clear()
    async with services_on(database_url, host) as services:
        ann = await a_person(services, check_ins=1)
        request = asyncio.create_task(a_picture(services, ann))
        await until(lambda: bool(host.drawn))
        request.cancel()
        await asyncio.gather(request, return_exceptions=True)
        assert (await account_of(services, ann)).held
        host.gate.set()
        await until(lambda: nothing_held(services, ann))
        image = await services.store.find(Image, host.drawn[0].prompt_id)
        assert image
        assert image.picture


async def test_a_busy_log_charges_nothing_and_leaves_no_lease(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with services_on(database_url) as services:
        ann = await a_person(services, check_ins=1)

        async def busy(*_: object) -> list[int]:
            raise DatabaseBusy

        monkeypatch.setattr(services.store._writer, "append", busy)
        with pytest.raises(DatabaseBusy):
            await generate_image(services.job_runner, ann, uuid4(), SUN, 30)
        monkeypatch.undo()
        assert ((await account_of(services, ann)).balance, await leases(services)) == (100, 0)


async def test_without_a_reachable_server_points_are_returned_then_refused(database_url: str) -> None:
    async with services_on(
        database_url, VanishedServer(ServerUnavailable("down")), dispatch=QUICK
    ) as services:
        ann = await a_person(services, check_ins=1)
        ending = await a_picture(services, ann)
        assert (ending.reason, ending.balance) == ("no painter could be reached", 100)
        with pytest.raises(NoServerAvailable):
            await a_picture(services, ann)
        assert (await account_of(services, ann)).balance == 100
        await until(lambda: no_leases(services))


async def test_a_queued_job_of_an_erased_account_is_not_drawn(database_url: str) -> None:
    host = FakeInferenceServer()
    host.gate.clear()
    async with services_on(database_url, host, dispatch=DispatchLimits(jobs_per_server_max=1)) as services:
        ann, ben = await a_person(services, check_ins=1), await a_person(services, "ben", check_ins=1)
        drawing = asyncio.create_task(a_picture(services, ben))
        await until(lambda: bool(host.drawn))
        waiting = asyncio.create_task(a_picture(services, ann))
        await until(lambda: holds(services, ann))
        await erase_account(services.store, services.erasures, ann)
        host.gate.set()
        assert (await waiting).reason == "the account was erased"
        assert (await drawing).picture
        assert len(host.drawn) == 1
        await until(lambda: no_leases(services))


async def holds(services: Services, account_id: UUID) -> bool:
    return bool((await account_of(services, account_id)).held)


async def test_too_few_points_are_reported_before_missing_servers(database_url: str) -> None:
    async with services_on(
        database_url, VanishedServer(ServerUnavailable("down")), dispatch=QUICK
    ) as services:
        await a_picture(services, await a_person(services, check_ins=1))
        with pytest.raises(NotEnoughPoints):
            await a_picture(services, await a_person(services, "ben"))


@pytest.mark.parametrize(
    "limits", [DispatchLimits(jobs_per_account_max=1), DispatchLimits(jobs_waiting_max=1)]
)
async def test_a_full_queue_charges_nothing(database_url: str, limits: DispatchLimits) -> None:
    host = FakeInferenceServer()
    host.gate.clear()
    async with services_on(database_url, host, dispatch=limits) as services:
        ann = await a_person(services, check_ins=1)
        first = asyncio.create_task(a_picture(services, ann))
        await until(lambda: bool(host.drawn))
        with pytest.raises(QueueFull):
            await a_picture(services, ann)
        host.gate.set()
        assert (await first).picture
        assert (await account_of(services, ann)).balance == 80
