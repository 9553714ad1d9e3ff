"""Files of replaced avatars go, those in use stay, and nothing that was begun and not ended stays for ever."""

import asyncio
from collections.abc import AsyncIterator
from copy import deepcopy
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
import pytest_asyncio

from huajuan.bootstrap import _estate
from huajuan.commands.clear_erased_accounts import clear_erased_accounts
from huajuan.commands.erase_account import erase_account
from huajuan.commands.set_avatar import set_avatar
from huajuan.commands.sweep_avatars import sweep_avatars
from huajuan.commands.update_account import Changes, update_account
from huajuan.event_store.store import EventStore
from huajuan.http.services import Desk
from tests.commands.people import a_person
from tests.services import desk_on, until

QUIET: dict[str, Any] = {
    "sweep_every_seconds": 3600.0,
    "erase_every_seconds": 3600.0,
    "erase_settle_seconds": 0.0,
}


@pytest_asyncio.fixture
async def desk(database_url: str) -> AsyncIterator[Desk]:
    async with desk_on(database_url, **QUIET) as desk:
        yield desk


async def uploaded(desk: Desk, person: UUID, *, stated: bool = True) -> str:
    """Its path; as the route does it."""
    avatar_id = uuid4()
    path = f"/avatars/{await desk.avatars.put(avatar_id, person, b'a portrait')}"
    if stated:
        await set_avatar(desk.store, person, path)
        await desk.avatars.stated(avatar_id)
    return path


def paths(desk: Desk) -> set[str]:
    folder = Path(desk.settings.storage_url, "avatars")
    return {f"/avatars/{file.name}" for file in folder.glob("*.png")}


async def an_hour_passes(desk: Desk) -> None:
    later = "UPDATE operations.uploaded_avatars SET look_at = look_at - make_interval(hours => 1)"
    await asyncio.to_thread(_run, desk.settings.database_url, later)


def _run(dsn: str, statement: str) -> list[Any]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


async def swept(desk: Desk) -> set[str]:
    await sweep_avatars(desk.store, desk.avatars, 100)
    return paths(desk)


async def test_an_avatar_in_use_stays_and_is_not_looked_at_again(desk: Desk) -> None:
    kept = await uploaded(desk, await a_person(desk))
    for _ in range(2):
        assert await swept(desk) == {kept}
        await an_hour_passes(desk)
    assert await desk.avatars.due(10) == []


REPLACING: dict[str, Any] = {
    "cleared": lambda desk, ann: set_avatar(desk.store, ann, ""),
    "by address": lambda desk, ann: set_avatar(desk.store, ann, "https://example.org/a.png"),
    "by an update": lambda desk, ann: update_account(
        desk.store, desk.passwords, ann, Changes(avatar_url="https://example.org/a.png")
    ),
    "erased": lambda desk, ann: erase_account(desk.store, desk.erasures, ann),
    "by another upload": uploaded,
}


@pytest.mark.parametrize("replace", REPLACING.values(), ids=REPLACING)
async def test_a_replaced_avatar_goes(desk: Desk, replace: Any) -> None:
    ann, ben = await a_person(desk, "ann"), await a_person(desk, "ben")
    first, his = await uploaded(desk, ann), await uploaded(desk, ben)
    assert await swept(desk) == {first, his}
    new = await replace(desk, ann)
    if replace is REPLACING["erased"]:
        await clear_erased_accounts(_estate(desk))
    await until(lambda: first not in paths(desk)) if replace is uploaded else None
    assert await swept(desk) == ({his, new} if isinstance(new, str) else {his})
    assert _run(desk.settings.database_url, "SELECT count(*) FROM operations.uploaded_avatars") == [
        (2 if isinstance(new, str) else 1,)
    ]


async def test_an_update_that_leaves_the_avatar_leaves_its_file(desk: Desk) -> None:
    ann = await a_person(desk)
    kept = await uploaded(desk, ann)
    await update_account(desk.store, desk.passwords, ann, Changes(email="new@example.org", avatar_url=kept))
    await an_hour_passes(desk)
    assert await swept(desk) == {kept}


async def test_what_a_crash_left_goes_after_an_hour_and_not_before(desk: Desk) -> None:
    """A file that is written may be named by an event soon."""
    ann = await a_person(desk)
    left = await uploaded(desk, ann, stated=False)
    kept = await uploaded(desk, ann)
    assert await swept(desk) == {left, kept}
    await an_hour_passes(desk)
    assert await swept(desk) == {kept}


async def test_a_crash_behind_the_event_leaves_nothing_for_ever(desk: Desk) -> None:
    ann = await a_person(desk)
    first = await uploaded(desk, ann, stated=False)
    await set_avatar(desk.store, ann, first)
    second = await uploaded(desk, ann, stated=False)
    await set_avatar(desk.store, ann, second)
    await an_hour_passes(desk)
    assert await swept(desk) == {second}
    assert await desk.avatars.due(10) == []


async def test_one_that_is_replaced_while_it_is_looked_at_is_looked_at_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = await a_person(desk)
    await set_avatar(desk.store, ann, await uploaded(desk, ann, stated=False))
    really = EventStore.find

    async def find(store: EventStore, *stream: Any) -> Any:
        found = deepcopy(await really(store, *stream))
        monkeypatch.setattr(EventStore, "find", really)
        await set_avatar(desk.store, ann, "")
        return found

    (due,) = await _due_again(desk)
    monkeypatch.setattr(EventStore, "find", find)
    await sweep_avatars(desk.store, desk.avatars, 1)
    assert [again.avatar_id for again in await desk.avatars.due(10)] == [due.avatar_id]
    assert await swept(desk) == set()


async def _due_again(desk: Desk) -> Any:
    await asyncio.to_thread(
        _run, desk.settings.database_url, "UPDATE operations.uploaded_avatars SET look_at = now()"
    )
    return await desk.avatars.due(10)


async def test_an_avatar_that_was_stored_by_its_whole_address_is_in_use(desk: Desk) -> None:
    """Under a public address that nobody knows any more."""
    ann = await a_person(desk)
    path = await uploaded(desk, ann, stated=False)
    await set_avatar(desk.store, ann, f"http://forgotten.example{path}")
    await an_hour_passes(desk)
    assert await swept(desk) == {path}
