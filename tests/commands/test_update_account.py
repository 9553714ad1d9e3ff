"""Updating an account: all of it or nothing, and an address is released as the new one is claimed."""

import asyncio
import copy
from typing import Any

import pytest

from huajuan.commands.login import login
from huajuan.commands.register import Form, register
from huajuan.commands.update_account import Changes, update_account
from huajuan.domain import refusals
from huajuan.domain.email_claim import EmailClaim
from huajuan.http.services import Desk
from tests.commands.people import a_person, account_of
from tests.event_store.studio import log_rows
from tests.services import desk_on


async def holder(desk: Desk, email: str) -> object:
    claim = await desk.store.find(EmailClaim, desk.store.stream_ids.email_claim(email))
    return claim and claim.account_id


async def test_everything_changes_in_one_append(database_url: str) -> None:
    async with desk_on(database_url) as desk:
        ann = await a_person(desk)
        changes = Changes("New@example.org", "another", "https://example.org/a.png")
        decided = await update_account(desk.store, desk.passwords, ann, changes)
        account = await account_of(desk, ann)
        assert (account.email, account.avatar_url, account.credential) == (
            "New@example.org", "https://example.org/a.png", 2,
        )  # fmt: skip
        assert (await login(desk.store, desk.passwords, "ann", "another")).credential == 2
        assert (await holder(desk, "new@example.org"), await holder(desk, "ann@example.org")) == (ann, None)
        assert decided.position == len(log_rows(database_url)) == 2 + 5


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        (Changes(email="", password="another"), refusals.EmailMissing),
        (Changes(email="bad", password="another"), refusals.EmailMalformed),
        (Changes(email="ben@example.org", password="another"), refusals.EmailTaken),
        (Changes(email="new@example.org", password="short"), refusals.PasswordTooShort),
        (Changes(email="new@example.org", avatar_url="javascript:x"), refusals.AvatarUnfit),
    ],
)
async def test_or_nothing_does(database_url: str, changes: Changes, refusal: type[refusals.Refused]) -> None:
    async with desk_on(database_url) as desk:
        ann, _ = await a_person(desk), await a_person(desk, "ben")
        before = log_rows(database_url)
        with pytest.raises(refusal):
            await update_account(desk.store, desk.passwords, ann, changes)
        assert log_rows(database_url) == before


async def test_no_changes_are_no_facts(database_url: str) -> None:
    async with desk_on(database_url) as desk:
        ann = await a_person(desk)
        same = Changes("ann@example.org", None, "")
        for changes in (Changes(), same):
            assert (await update_account(desk.store, desk.passwords, ann, changes)).position == 0


async def test_another_spelling_of_ones_own_address_is_no_new_claim(database_url: str) -> None:
    async with desk_on(database_url) as desk:
        ann = await a_person(desk)
        await update_account(desk.store, desk.passwords, ann, Changes(email="ANN@example.org"))
        assert (await account_of(desk, ann)).email == "ANN@example.org"
        assert await holder(desk, "ann@example.org") == ann


async def test_an_address_given_up_is_free_at_once(database_url: str) -> None:
    async with desk_on(database_url) as desk:
        ann = await a_person(desk)
        await update_account(desk.store, desk.passwords, ann, Changes(email="new@example.org"))
        await register(desk.store, desk.passwords, Form("ben", "ann@example.org", "secret"), 0)
        with pytest.raises(refusals.EmailTaken):
            await update_account(desk.store, desk.passwords, ann, Changes(email="ann@example.org"))


async def test_of_many_changes_at_once_every_address_but_the_last_is_released(database_url: str) -> None:
    async with desk_on(database_url) as here, desk_on(database_url) as there:
        ann = await a_person(here)
        addresses = [f"{n}@example.org" for n in range(3)]
        asked = [
            update_account(desk.store, desk.passwords, ann, Changes(email=address))
            for address, desk in zip(addresses, (here, there, here), strict=True)
        ]
        await asyncio.gather(*asked)
        current = (await account_of(here, ann)).email
        held = [a for a in [*addresses, "ann@example.org"] if await holder(here, a) == ann]
        assert held == [current]


async def test_an_address_left_elsewhere_is_claimed_again_and_not_taken_for_ones_own(
    database_url: str,
) -> None:
    async with desk_on(database_url) as here, desk_on(database_url) as there:
        ann = await a_person(here, "ann")  # her claim is remembered here
        first, second = Changes(email="ann@example.org"), Changes(email="second@example.org")
        await update_account(there.store, there.passwords, ann, second)
        await account_of(here, ann)
        await holder(here, "second@example.org")  # all is up to date here but the first claim
        await update_account(here.store, here.passwords, ann, first)
        with pytest.raises(refusals.EmailTaken):
            await register(there.store, there.passwords, Form("ben", "ann@example.org", "secret"), 0)


async def test_an_address_kept_while_another_request_changes_it_is_claimed_for_all_that(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was one's own when it was looked at, and had been released when it was written."""
    async with desk_on(database_url) as desk, desk_on(database_url) as other:
        ann, find, looks = await a_person(desk), desk.store.find, list[object]()

        async def find_and_lose_time(*which: Any) -> Any:
            looks.append(found := await find(*which))
            email = found and getattr(found, "email", None)
            if len(looks) == 2:  # what the address is compared with
                kept = copy.copy(found)
                await update_account(other.store, other.passwords, ann, Changes(email="b@example.org"))
                assert email == "ann@example.org"
                return kept
            return found

        monkeypatch.setattr(desk.store, "find", find_and_lose_time)
        await update_account(desk.store, desk.passwords, ann, Changes(email="ANN@example.org"))
        monkeypatch.undo()
        assert (await account_of(desk, ann)).email == "ANN@example.org"
        assert (await holder(desk, "ann@example.org"), await holder(desk, "b@example.org")) == (ann, None)
