"""Erasing an account: the person is forgotten, what was theirs goes, and the log stays whole."""

import asyncio
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest

from huajuan.bootstrap import _estate
from huajuan.commands.adjust_points import adjust_points
from huajuan.commands.ban_account import ban_account
from huajuan.commands.clear_erased_accounts import clear_erased_accounts
from huajuan.commands.erase_account import erase_account
from huajuan.commands.favorite_image import favorite_image
from huajuan.commands.grant_admin import grant_admin
from huajuan.commands.like_image import like_image
from huajuan.commands.login import login
from huajuan.commands.register import Form, register
from huajuan.commands.revoke_admin import revoke_admin
from huajuan.commands.set_avatar import set_avatar
from huajuan.commands.sweep_pictures import sweep_pictures
from huajuan.commands.unban_account import unban_account
from huajuan.commands.update_account import Changes, update_account
from huajuan.domain.image import Image
from huajuan.domain.image_parameters import Order
from huajuan.domain.refusals import NameTaken, NotRegistered
from huajuan.event_store.limits import LogLimits
from huajuan.http.services import Desk
from huajuan.projections.registry import PROJECTIONS
from tests.commands.people import a_person, a_picture, account_of
from tests.event_store.studio import is_whole
from tests.jobs.fake_host import FakeHost
from tests.services import desk_on, until

QUIET = {"erase_every_seconds": 3600.0, "sweep_every_seconds": 3600.0, "erase_settle_seconds": 0.0}
SECRETIVE = Order("a purple giraffe", 220, 200, 30, "DDIM", "a seed of hers")


def rows(dsn: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(query.encode()).fetchall()


def files_of(desk: Desk) -> set[str]:
    return {path.name for path in Path(desk.settings.storage_url).rglob("*.png")}


async def picture_of(desk: Desk, person: UUID, order: Order = SECRETIVE) -> UUID:
    ending = await a_picture(desk, person, order)
    assert ending.picture
    return UUID(ending.picture.removesuffix(".png"))


async def erase(desk: Desk, person: UUID) -> None:
    await erase_account(desk.store, desk.erasures, person)
    while not await clear_erased_accounts(_estate(desk)):
        await asyncio.sleep(0.01)


async def speak_of(desk: Desk, person: UUID) -> None:
    """Whatever somebody may type who looks after the service."""
    await set_avatar(desk.store, person, "https://example.org/portrait_of_hers.png")
    for change in (30, -20):
        await adjust_points(desk.store, person, change, "overheard in the hall")
    for act in (ban_account, unban_account, grant_admin, revoke_admin, grant_admin):
        await act(desk.store, person, "overheard in the hall")


async def test_pictures_likes_favorites_and_avatar_go_and_points_are_forfeited(database_url: str) -> None:
    async with desk_on(database_url, **QUIET, erase_batch_max=2) as desk:
        ann, ben = await a_person(desk, "ann", 2), await a_person(desk, "ben", 1)
        hers, his = [await picture_of(desk, ann) for _ in range(5)], await picture_of(desk, ben)
        avatar = await desk.avatars.put(uuid4(), ann, b"a portrait")
        for person, image in ((ann, his), (ben, hers[0])):
            await like_image(desk.store, person, image)
            await favorite_image(desk.store, person, image)
        await erase(desk, ann)
        await sweep_pictures(desk.store, desk.trash, desk.pictures, 10)
        kept = files_of(desk)
        assert kept == {f"{his.hex}.png"}
        assert avatar not in kept
        head = rows(database_url, "SELECT max(notification_id) FROM log.huajuan_events")[0][0]
        await desk.show(int(str(head)), *PROJECTIONS)
        balance = "SELECT granted, available, held, spent, forfeited FROM point_balances_v1.point_balances"
        assert rows(database_url, f"{balance} WHERE account_id = '{ann}'") == [(200, 0, 0, 100, 100)]
        assert rows(database_url, "SELECT image_id, likecount FROM history_v4.history WHERE NOT hidden") == [
            (his, 0)
        ]
        assert rows(database_url, f"SELECT 1 FROM likes_v1.likes WHERE account_id = '{ann}'") == []
        assert rows(database_url, f"SELECT 1 FROM favorites_v1.favorites WHERE account_id = '{ann}'") == []
        assert rows(database_url, "SELECT 1 FROM operations.erasures") == []


async def test_the_name_stays_taken_and_the_address_is_free(database_url: str) -> None:
    async with desk_on(database_url, **QUIET) as desk:
        ann = await a_person(desk, "ann")
        await erase(desk, ann)
        with pytest.raises(NotRegistered):
            await login(desk.store, desk.passwords, "ann", "secret")
        with pytest.raises(NameTaken):
            await a_person(desk, "ann")
        await register(desk.store, desk.passwords, Form("anna", "ann@example.org", "secret"), 0)
        with pytest.raises(NotRegistered):
            await erase_account(desk.store, desk.erasures, ann)


async def test_nothing_readable_is_left_and_the_log_is_whole(database_url: str) -> None:
    async with desk_on(database_url, **QUIET, log=LogLimits(snapshot_every_events=2)) as desk:
        ann = await a_person(desk, "ann_who_leaves", 2)
        await update_account(desk.store, desk.passwords, ann, Changes(email="second@leaves.example"))
        await speak_of(desk, ann)
        for _ in range(4):
            await picture_of(desk, ann)
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute("ANALYZE")
        before = _dump(database_url)
        assert "purple giraffe" in before
        assert "portrait_of_hers" in before
        await erase(desk, ann)
        head = rows(database_url, "SELECT max(notification_id) FROM log.huajuan_events")[0][0]
        await desk.show(int(str(head)), *PROJECTIONS)
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
    """Every row of every table, as a dump would show it, and what the planner noted of them."""
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
            "SELECT most_common_vals::text, histogram_bounds::text FROM pg_stats WHERE schemaname <> 'pg_catalog'"
        ).fetchall()
    return repr((tables, found, states, statistics))


async def test_another_process_forgets_the_person_too(database_url: str) -> None:
    async with desk_on(database_url, **QUIET) as here, desk_on(database_url, **QUIET) as there:
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
async def test_a_picture_that_is_being_drawn_comes_to_nothing(database_url: str, paints: bool) -> None:
    host = FakeHost()
    async with desk_on(database_url, host, **QUIET) as desk:
        ann = await a_person(desk, "ann", 1)
        host.gate.clear()
        drawing = asyncio.create_task(a_picture(desk, ann))
        await until(lambda: bool(host.drawn))
        await erase_account(desk.store, desk.erasures, ann)
        assert await clear_erased_accounts(_estate(desk)) == 0
        if not paints:
            host.failures.append(RuntimeError("out of paint"))
        host.gate.set()
        assert (await drawing).picture is None
        await until(lambda: files_of(desk) == set())
        while not await clear_erased_accounts(_estate(desk)):
            await asyncio.sleep(0.01)
        account = await account_of(desk, ann)
        assert (account.balance, account.held) == (0, {})


async def test_many_erasures_and_other_acts_at_once_leave_one_erased_account(database_url: str) -> None:
    async with desk_on(database_url, **QUIET) as here, desk_on(database_url, **QUIET) as there:
        ann = await a_person(here, "ann", 5)

        async def acts(desk: Desk, number: int) -> object:
            if number % 3 == 0:
                return await erase_account(desk.store, desk.erasures, ann)
            if number % 3 == 1:
                return await a_picture(desk, ann)
            return await update_account(
                desk.store, desk.passwords, ann, Changes(email=f"ann{number}@example.org")
            )

        done = await asyncio.gather(
            *(acts(desk, n) for n in range(9) for desk in (here, there)), return_exceptions=True
        )
        assert all(isinstance(one, NotRegistered) for one in done if isinstance(one, BaseException)), done
        topics = [topic for (topic,) in rows(database_url, "SELECT topic FROM log.huajuan_events")]
        assert topics.count("account.erased") == 1
        assert (await account_of(there, ann)).is_erased
        claims = "SELECT originator_id, array_agg(topic ORDER BY originator_version) FROM log.huajuan_events "
        for _, facts in rows(database_url, claims + "WHERE topic LIKE 'email_claim.%' GROUP BY 1"):
            assert list(facts)[-1] == "email_claim.released"  # type: ignore[call-overload]


async def test_who_was_erased_elsewhere_gets_no_role_and_loses_none(database_url: str) -> None:
    async with desk_on(database_url, **QUIET) as here, desk_on(database_url, **QUIET) as there:
        ann, ben = await a_person(here), await a_person(here, "ben")
        await grant_admin(there.store, ben, "runs it")
        await account_of(there, ann)
        for person in (ann, ben):
            await erase_account(here.store, here.erasures, person)
        for command, person in ((grant_admin, ann), (revoke_admin, ben)):
            with pytest.raises(NotRegistered):
                await command(there.store, person, "nobody can read this")
