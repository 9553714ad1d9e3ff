"""Sweeping avatars: files of replaced avatars are removed, also after crashes; those in use stay."""

import asyncio
from collections.abc import AsyncIterator
from copy import deepcopy
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
import pytest_asyncio

from huajuan.bootstrap import erasure_job
from huajuan.commands.accounts import AccountChanges, set_avatar, update_account
from huajuan.commands.erase_account import clear_erased_accounts, erase_account
from huajuan.commands.images import sweep_avatars
from huajuan.event_store.store import EventStore
from huajuan.http.services import Services
from tests.commands.people import a_person
from tests.services import services_on, until

QUIET: dict[str, Any] = {
    "sweep_every_seconds": 3600.0,
    "erase_every_seconds": 3600.0,
    "erasure_grace_seconds": 0.0,
}


@pytest_asyncio.fixture
async def services(database_url: str) -> AsyncIterator[Services]:
    async with services_on(database_url, **QUIET) as services:
        yield services


async def uploaded(services: Services, person: UUID, *, recorded: bool = True) -> str:
    """Upload as the route does; return the path."""
    avatar_id = uuid4()
    path = f"/avatars/{await services.avatars.put(avatar_id, person, b'a portrait')}"
    if recorded:
        await set_avatar(services.store, person, path)
        await services.avatars.mark_referenced(avatar_id)
    return path


def paths(services: Services) -> set[str]:
    folder = Path(services.settings.storage_url, "avatars")
    return {f"/avatars/{file.name}" for file in folder.glob("*.png")}


async def an_hour_passes(services: Services) -> None:
    later = "UPDATE operations.uploaded_avatars SET check_at = check_at - make_interval(hours => 1)"
    await asyncio.to_thread(_run, services.settings.database_url, later)


def _run(dsn: str, statement: str) -> list[Any]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


async def swept(services: Services) -> set[str]:
    await sweep_avatars(services.store, services.avatars, 100)
    return paths(services)


async def test_an_avatar_in_use_stays_and_is_not_checked_again(services: Services) -> None:
    kept = await uploaded(services, await a_person(services))
    for _ in range(2):
        assert await swept(services) == {kept}
        await an_hour_passes(services)
    assert await services.avatars.due(10) == []


REPLACING: dict[str, Any] = {
    "cleared": lambda services, ann: set_avatar(services.store, ann, ""),
    "by address": lambda services, ann: set_avatar(services.store, ann, "https://example.org/a.png"),
    "by an update": lambda services, ann: update_account(
        services.store, services.passwords, ann, AccountChanges(avatar_url="https://example.org/a.png")
    ),
    "erased": lambda services, ann: erase_account(services.store, services.erasures, ann),
    "by another upload": uploaded,
}


@pytest.mark.parametrize("replace", REPLACING.values(), ids=REPLACING)
async def test_a_replaced_avatar_is_removed(services: Services, replace: Any) -> None:
    ann, ben = await a_person(services, "ann"), await a_person(services, "ben")
    first, his = await uploaded(services, ann), await uploaded(services, ben)
    assert await swept(services) == {first, his}
    new = await replace(services, ann)
    if replace is REPLACING["erased"]:
        await clear_erased_accounts(erasure_job(services))
    await until(lambda: first not in paths(services)) if replace is uploaded else None
    assert await swept(services) == ({his, new} if isinstance(new, str) else {his})
    assert _run(services.settings.database_url, "SELECT count(*) FROM operations.uploaded_avatars") == [
        (2 if isinstance(new, str) else 1,)
    ]


async def test_an_update_with_the_same_avatar_keeps_the_file(services: Services) -> None:
    ann = await a_person(services)
    kept = await uploaded(services, ann)
    await update_account(
        services.store, services.passwords, ann, AccountChanges(email="new@example.org", avatar_url=kept)
    )
    await an_hour_passes(services)
    assert await swept(services) == {kept}


async def test_an_unrecorded_file_is_removed_after_an_hour(services: Services) -> None:
    """Not before: the event that names the file may still be appended."""
    ann = await a_person(services)
    left = await uploaded(services, ann, recorded=False)
    kept = await uploaded(services, ann)
    assert await swept(services) == {left, kept}
    await an_hour_passes(services)
    assert await swept(services) == {kept}


async def test_a_crash_after_the_event_leaves_no_file(services: Services) -> None:
    ann = await a_person(services)
    first = await uploaded(services, ann, recorded=False)
    await set_avatar(services.store, ann, first)
    second = await uploaded(services, ann, recorded=False)
    await set_avatar(services.store, ann, second)
    await an_hour_passes(services)
    assert await swept(services) == {second}
    assert await services.avatars.due(10) == []


async def test_an_avatar_replaced_during_its_check_is_checked_again(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = await a_person(services)
    await set_avatar(services.store, ann, await uploaded(services, ann, recorded=False))
    original = EventStore.find

    async def find(store: EventStore, *stream: Any) -> Any:
        found = deepcopy(await original(store, *stream))
        monkeypatch.setattr(EventStore, "find", original)
        await set_avatar(services.store, ann, "")
        return found

    (due,) = await _due_again(services)
    monkeypatch.setattr(EventStore, "find", find)
    await sweep_avatars(services.store, services.avatars, 1)
    assert [again.avatar_id for again in await services.avatars.due(10)] == [due.avatar_id]
    assert await swept(services) == set()


async def _due_again(services: Services) -> Any:
    await asyncio.to_thread(
        _run, services.settings.database_url, "UPDATE operations.uploaded_avatars SET check_at = now()"
    )
    return await services.avatars.due(10)


async def test_an_avatar_recorded_by_an_absolute_url_is_in_use(services: Services) -> None:
    """Under a public address that the service no longer has."""
    ann = await a_person(services)
    path = await uploaded(services, ann, recorded=False)
    await set_avatar(services.store, ann, f"http://forgotten.example{path}")
    await an_hour_passes(services)
    assert await swept(services) == {path}
