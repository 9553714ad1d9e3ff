"""Erasing an account: the person is forgotten, the log stays complete, and a crash leaves nothing behind."""

import asyncio
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest

from huajuan.bootstrap import erasure_job
from huajuan.commands.accounts import (
    AccountChanges,
    RegistrationForm,
    login,
    register,
    set_avatar,
    update_account,
)
from huajuan.commands.erase_account import clear_erased_accounts, erase_account
from huajuan.commands.images import sweep_pictures
from huajuan.commands.likes_and_favorites import favorite_image, like_image
from huajuan.commands.moderation import adjust_points, ban_account, grant_admin, revoke_admin, unban_account
from huajuan.domain.account import Account
from huajuan.domain.image import Image, ImageParameters
from huajuan.domain.refusals import NotRegistered, UsernameTaken
from huajuan.event_store.writer import EventStoreLimits
from huajuan.http.services import Services
from huajuan.projections.favorites import FAVORITES
from huajuan.projections.history import HISTORY
from huajuan.projections.likes import LIKES
from huajuan.projections.point_balances import POINT_BALANCES
from huajuan.projections.registry import PROJECTIONS
from huajuan.server.limits import ServiceLimits, WorkerLimits
from tests.commands.people import a_person, a_picture, account_of
from tests.event_store.helpers import is_whole
from tests.jobs.fake_server import FakeInferenceServer
from tests.services import services_on, until

QUIET = {"erase_every_seconds": 3600.0, "sweep_every_seconds": 3600.0, "erasure_grace_seconds": 0.0}
SMALL_BATCHES = ServiceLimits(worker=WorkerLimits(erase_batch_max=2))
SECRETIVE = ImageParameters("a purple giraffe", 220, 200, 30, "DDIM", "a seed of hers")


def rows(dsn: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(query.encode()).fetchall()


def files_of(services: Services) -> set[str]:
    return {path.name for path in Path(services.settings.storage_url).rglob("*.png")}


async def picture_of(services: Services, person: UUID, order: ImageParameters = SECRETIVE) -> UUID:
    ending = await a_picture(services, person, order)
    assert ending.picture
    return UUID(ending.picture.removesuffix(".png"))


async def erase(services: Services, person: UUID) -> None:
    await erase_account(services.store, services.erasures, person)
    while not await clear_erased_accounts(erasure_job(services, SMALL_BATCHES)):
        await asyncio.sleep(0.01)


async def leave_personal_texts(services: Services, person: UUID) -> None:
    """Free text about the person, as admins may type it."""
    await set_avatar(services.store, person, "https://example.org/portrait_of_hers.png")
    for change in (30, -20):
        await adjust_points(services.store, person, change, "overheard in the hall")
    for act in (ban_account, unban_account, grant_admin, revoke_admin, grant_admin):
        await act(services.store, person, "overheard in the hall")


async def test_personal_data_is_erased_and_points_are_forfeited(database_url: str) -> None:
    async with services_on(database_url, **QUIET) as services:
        ann, ben = await a_person(services, "ann", 2), await a_person(services, "ben", 1)
        hers, his = [await picture_of(services, ann) for _ in range(5)], await picture_of(services, ben)
        avatar = await services.avatars.put(uuid4(), ann, b"a portrait")
        for person, image in ((ann, his), (ben, hers[0])):
            await like_image(services.store, person, image)
            await favorite_image(services.store, person, image)
        await erase(services, ann)
        await sweep_pictures(services.store, services.deleted_pictures, services.pictures, 10)
        kept = files_of(services)
        assert kept == {f"{his.hex}.png"}
        assert avatar not in kept
        head = rows(database_url, "SELECT max(notification_id) FROM log.huajuan_events")[0][0]
        await services.read_your_writes.wait_for(int(str(head)), *PROJECTIONS)
        balance = (
            f"SELECT granted, available, held, spent, forfeited FROM {POINT_BALANCES.schema}.point_balances"
        )
        assert rows(database_url, f"{balance} WHERE account_id = '{ann}'") == [(200, 0, 0, 100, 100)]
        assert rows(
            database_url, f"SELECT image_id, likecount FROM {HISTORY.schema}.history WHERE NOT hidden"
        ) == [(his, 0)]
        assert rows(database_url, f"SELECT 1 FROM {LIKES.schema}.likes WHERE account_id = '{ann}'") == []
        assert (
            rows(database_url, f"SELECT 1 FROM {FAVORITES.schema}.favorites WHERE account_id = '{ann}'") == []
        )
        assert rows(database_url, "SELECT 1 FROM operations.erasures") == []


async def test_the_username_stays_taken_and_the_email_is_free(database_url: str) -> None:
    async with services_on(database_url, **QUIET) as services:
        ann = await a_person(services, "ann")
        await erase(services, ann)
        with pytest.raises(NotRegistered):
            await login(services.store, services.passwords, "ann", "secret")
        with pytest.raises(UsernameTaken):
            await a_person(services, "ann")
        await register(
            services.store, services.passwords, RegistrationForm("anna", "ann@example.org", "secret"), 0
        )
        with pytest.raises(NotRegistered):
            await erase_account(services.store, services.erasures, ann)


async def test_no_personal_text_is_left_in_the_database(database_url: str) -> None:
    async with services_on(database_url, **QUIET, log=EventStoreLimits(snapshot_every_events=2)) as services:
        ann = await a_person(services, "ann_who_leaves", 2)
        await update_account(
            services.store, services.passwords, ann, AccountChanges(email="second@leaves.example")
        )
        await leave_personal_texts(services, ann)
        for _ in range(4):
            await picture_of(services, ann)
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute("ANALYZE")
        before = _dump(database_url)
        assert "purple giraffe" in before
        assert "portrait_of_hers" in before
        await erase(services, ann)
        head = rows(database_url, "SELECT max(notification_id) FROM log.huajuan_events")[0][0]
        await services.read_your_writes.wait_for(int(str(head)), *PROJECTIONS)
        dump = _dump(database_url)
        for words in (
            "ann_who_leaves",
            "leaves.example",
            "purple giraffe",
            "a seed of hers",
            "portrait_of_hers",
            "overheard",
        ):
            assert words not in dump
        assert "account.erased" in dump
        assert is_whole(database_url)


def _dump(dsn: str) -> str:
    """Every row of every table, and the planner's statistics."""
    with psycopg.connect(dsn) as connection:
        tables = connection.execute(
            "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables "
            "WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall()
        found = [connection.execute(f"SELECT t::text FROM {t} t".encode()).fetchall() for (t,) in tables]
        states = connection.execute(
            "SELECT topic, convert_from(state, 'UTF8') FROM log.huajuan_events"
        ).fetchall()
        statistics = connection.execute(
            "SELECT most_common_vals::text, histogram_bounds::text FROM pg_stats "
            "WHERE schemaname <> 'pg_catalog'"
        ).fetchall()
    return repr((tables, found, states, statistics))


async def test_another_process_forgets_the_person(database_url: str) -> None:
    async with services_on(database_url, **QUIET) as here, services_on(database_url, **QUIET) as there:
        ann = await a_person(here, "ann", 1)
        image = await picture_of(here, ann)
        assert (await account_of(there, ann)).username == "ann"
        found = await there.store.find(Image, image)
        assert found
        assert found.prompt == SECRETIVE.prompt
        await erase_account(here.store, here.erasures, ann)
        await until(lambda: there.store.keys._keys.get(ann, "unknown") is None)
        assert (await account_of(there, ann)).username is None
        found = await there.store.find(Image, image)
        assert found
        assert found.prompt is None


@pytest.mark.parametrize("paints", [True, False])
async def test_a_picture_in_progress_is_erased_too(database_url: str, paints: bool) -> None:
    host = FakeInferenceServer()
    async with services_on(database_url, host, **QUIET) as services:
        ann = await a_person(services, "ann", 1)
        host.gate.clear()
        drawing = asyncio.create_task(a_picture(services, ann))
        await until(lambda: bool(host.drawn))
        await erase_account(services.store, services.erasures, ann)
        assert await clear_erased_accounts(erasure_job(services)) == 0
        if not paints:
            host.failures.append(RuntimeError("out of paint"))
        host.gate.set()
        assert (await drawing).picture is None
        await until(lambda: files_of(services) == set())
        while not await clear_erased_accounts(erasure_job(services)):
            await asyncio.sleep(0.01)
        account = await account_of(services, ann)
        assert (account.balance, account.held) == (0, {})


async def test_concurrent_erasures_and_updates_erase_once(database_url: str) -> None:
    async with services_on(database_url, **QUIET) as here, services_on(database_url, **QUIET) as there:
        ann = await a_person(here, "ann", 5)

        async def act(services: Services, number: int) -> object:
            if number % 3 == 0:
                return await erase_account(services.store, services.erasures, ann)
            if number % 3 == 1:
                return await a_picture(services, ann)
            return await update_account(
                services.store, services.passwords, ann, AccountChanges(email=f"ann{number}@example.org")
            )

        done = await asyncio.gather(
            *(act(services, n) for n in range(9) for services in (here, there)), return_exceptions=True
        )
        assert all(isinstance(one, NotRegistered) for one in done if isinstance(one, BaseException)), done
        topics = [topic for (topic,) in rows(database_url, "SELECT topic FROM log.huajuan_events")]
        assert topics.count("account.erased") == 1
        assert (await account_of(there, ann)).is_erased
        claims = "SELECT originator_id, array_agg(topic ORDER BY originator_version) FROM log.huajuan_events "
        for _, topics_of_claim in rows(database_url, claims + "WHERE topic LIKE 'email_claim.%' GROUP BY 1"):
            assert list(topics_of_claim)[-1] == "email_claim.released"  # type: ignore[call-overload]


async def test_the_role_of_an_account_erased_elsewhere_cannot_change(database_url: str) -> None:
    async with services_on(database_url, **QUIET) as here, services_on(database_url, **QUIET) as there:
        ann, ben = await a_person(here), await a_person(here, "ben")
        await grant_admin(there.store, ben, "runs it")
        await account_of(there, ann)
        for person in (ann, ben):
            await erase_account(here.store, here.erasures, person)
        for command, person in ((grant_admin, ann), (revoke_admin, ben)):
            with pytest.raises(NotRegistered):
                await command(there.store, person, "nobody can read this")


async def test_an_interrupted_erasure_is_completed_after_a_restart(database_url: str) -> None:
    async with services_on(database_url, **QUIET) as services:
        ann = await a_person(services, "ann", 1)
        image = await picture_of(services, ann)
        await erase_account(services.store, services.erasures, ann)
    async with services_on(database_url, sweep_every_seconds=0.05, erasure_grace_seconds=0.0) as services:

        async def is_swept() -> bool:
            found = await services.store.find(Image, image)
            return bool(found and found.is_swept)

        await until(is_swept)


async def test_a_queued_erasure_without_an_event_is_dropped_after_a_timeout(
    database_url: str,
) -> None:
    async with services_on(database_url, **QUIET) as services:
        ann = await a_person(services, "ann")
        await services.erasures.put(ann)
        assert await clear_erased_accounts(erasure_job(services)) == 0, "its event may still be appended"
        with psycopg.connect(database_url) as connection:
            connection.execute(
                "UPDATE operations.erasures SET requested_at = requested_at - interval '121 seconds'"
            )
        assert await clear_erased_accounts(erasure_job(services)) == 1
        assert not (await account_of(services, ann)).is_erased
        assert await services.store.find(Account, ann)


async def test_an_erasure_checked_before_its_event_is_cleared_later(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with services_on(database_url, **QUIET) as services:
        ann = await a_person(services, "ann", 1)
        image = await picture_of(services, ann)
        put = services.erasures.put

        async def put_and_clear(account_id: UUID) -> None:
            await put(account_id)
            await clear_erased_accounts(erasure_job(services))

        monkeypatch.setattr(services.erasures, "put", put_and_clear)
        await erase_account(services.store, services.erasures, ann)

        async def is_cleared() -> bool:
            return await clear_erased_accounts(erasure_job(services)) == 1

        await until(is_cleared)
        found = await services.store.find(Image, image)
        assert found
        assert found.is_erased
