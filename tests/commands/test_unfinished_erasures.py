"""An erasure that is put down and not yet stated, or stated and not yet cleared: nothing is forgotten."""

from uuid import UUID

import psycopg
import pytest

from huajuan.bootstrap import _estate
from huajuan.commands.clear_erased_accounts import clear_erased_accounts
from huajuan.commands.erase_account import erase_account
from huajuan.domain.account import Account
from huajuan.domain.image import Image
from tests.commands.people import a_person, account_of
from tests.commands.test_erase_account import QUIET, picture_of
from tests.services import desk_on, until


async def test_an_erasure_that_died_half_way_is_finished_by_whoever_starts(database_url: str) -> None:
    async with desk_on(database_url, **QUIET) as desk:
        ann = await a_person(desk, "ann", 1)
        image = await picture_of(desk, ann)
        await erase_account(desk.store, desk.erasures, ann)
    async with desk_on(database_url, sweep_every_seconds=0.05, erase_settle_seconds=0.0) as desk:

        async def is_swept() -> bool:
            found = await desk.store.find(Image, image)
            return bool(found and found.is_swept)

        await until(is_swept)


async def test_an_erasure_that_was_never_stated_is_dropped_once_it_cannot_be_any_more(
    database_url: str,
) -> None:
    async with desk_on(database_url, **QUIET) as desk:
        ann = await a_person(desk, "ann")
        await desk.erasures.put(ann)
        assert await clear_erased_accounts(_estate(desk)) == 0, "it may be stated in the next moment"
        with psycopg.connect(database_url) as connection:
            connection.execute("UPDATE operations.erasures SET asked_at = asked_at - interval '121 seconds'")
        assert await clear_erased_accounts(_estate(desk)) == 1
        assert not (await account_of(desk, ann)).is_erased
        assert await desk.store.find(Account, ann)


async def test_one_that_is_looked_at_before_it_is_stated_is_cleared_all_the_same(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with desk_on(database_url, **QUIET) as desk:
        ann = await a_person(desk, "ann", 1)
        image = await picture_of(desk, ann)
        put = desk.erasures.put

        async def put_and_look(account_id: UUID) -> None:
            await put(account_id)
            await clear_erased_accounts(_estate(desk))

        monkeypatch.setattr(desk.erasures, "put", put_and_look)
        await erase_account(desk.store, desk.erasures, ann)

        async def is_cleared() -> bool:
            return await clear_erased_accounts(_estate(desk)) == 1

        await until(is_cleared)
        found = await desk.store.find(Image, image)
        assert found
        assert found.is_erased
