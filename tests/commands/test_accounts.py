"""Registering, logging in and updating an account, alone and in races."""

import asyncio
import copy
from typing import Any

import pytest

from huajuan.auth.passwords import Passwords
from huajuan.commands.accounts import AccountChanges, RegistrationForm, login, register, update_account
from huajuan.domain import refusals
from huajuan.domain.account import Account
from huajuan.domain.aggregate import AggregateRoot
from huajuan.domain.email_claim import EmailClaim
from huajuan.domain.refusals import NotRegistered, WrongPassword
from huajuan.event_store.loader import Stream
from huajuan.http.services import Services
from huajuan.runtime.periodic import TooManyWaiting
from tests.commands.people import a_person, account_of
from tests.event_store.helpers import log_rows
from tests.services import services_on

RACERS = 100


def form(username: str = "ann", email: str = "ann@example.org", password: str = "secret") -> RegistrationForm:
    return RegistrationForm(username, email, password)


async def test_a_new_account_has_its_welcome_points_and_is_its_own_actor(database_url: str) -> None:
    async with services_on(database_url) as services:
        decided = await register(services.store, services.passwords, form(), 40)
        account = await account_of(services, decided.aggregates[0].id)
        assert (account.username, account.email, account.balance) == ("ann", "ann@example.org", 40)
        async with services.store._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT convert_from(state, 'UTF8')::json->>'actor' FROM log.huajuan_events"
            )
            assert {actor for (actor,) in await cursor.fetchall()} == {str(account.id)}


@pytest.mark.parametrize(
    ("application", "refusal"),
    [
        (form(username="", email="", password=""), refusals.UsernameMissing),
        (form(email="", password=""), refusals.EmailMissing),
        (form(email="bad", password="12345"), refusals.PasswordTooShort),
        (form(email="bad"), refusals.EmailMalformed),
        (form(username="taken", email="taken@example.org"), refusals.UsernameTaken),
        (form(username="x" * 31, email="TAKEN@example.org"), refusals.EmailTaken),
        (form(username="x" * 31), refusals.UsernameInvalid),
        (form(username="a\nb"), refusals.UsernameInvalid),
    ],
)
async def test_the_first_invalid_field_is_reported(
    database_url: str, application: RegistrationForm, refusal: type[refusals.Refused]
) -> None:
    async with services_on(database_url) as services:
        await a_person(services, "taken")
        with pytest.raises(refusal):
            await register(services.store, services.passwords, application, 0)


async def test_one_of_100_concurrent_registrations_gets_the_username(database_url: str) -> None:
    async with services_on(database_url) as here, services_on(database_url) as there:
        applications = [
            register(services.store, services.passwords, form(email=f"{n}@example.org"), 0)
            for n in range(RACERS // 2)
            for services in (here, there)
        ]
        results = await asyncio.gather(*applications, return_exceptions=True)
        kinds = [type(r).__name__ for r in results]
        # Both of a pair request the same address too; the one with the username has the address.
        assert kinds.count("ChangeResult") == 1
        assert kinds.count("UsernameTaken") == RACERS - 1


async def test_one_of_100_concurrent_registrations_gets_the_email(database_url: str) -> None:
    async with services_on(database_url) as here, services_on(database_url) as there:
        applications = [
            register(services.store, services.passwords, form(f"{place}{n}"), 0)
            for n in range(RACERS // 2)
            for place, services in (("here", here), ("there", there))
        ]
        results = await asyncio.gather(*applications, return_exceptions=True)
        kinds = [type(r).__name__ for r in results]
        assert (kinds.count("ChangeResult"), kinds.count("EmailTaken")) == (1, RACERS - 1)
        winner = next(r for r in results if not isinstance(r, BaseException))
        claim = await here.store.find(EmailClaim, here.store.stream_ids.email_claim("ANN@example.org"))
        assert claim
        assert claim.account_id == winner.aggregates[0].id


async def test_a_released_email_can_be_registered_again(database_url: str) -> None:
    async with services_on(database_url) as services:
        ann = await a_person(services, "ann")
        claim_id = services.store.stream_ids.email_claim("ann@example.org")

        def release(account: Account | None, claim: EmailClaim | None) -> list[AggregateRoot]:
            assert account
            assert claim
            account.change_email("other@example.org")
            claim.release()
            return [account, claim]

        await services.store.change(release, Stream(Account, ann), Stream(EmailClaim, claim_id))
        decided = await register(services.store, services.passwords, form("ben"), 0)
        claim = await services.store.find(EmailClaim, claim_id)
        assert claim
        assert claim.account_id == decided.aggregates[0].id


async def test_usernames_are_case_sensitive_and_emails_are_not(database_url: str) -> None:
    async with services_on(database_url) as services:
        await register(services.store, services.passwords, form("Ann", "a@example.org"), 0)
        await register(services.store, services.passwords, form("ann", "b@example.org"), 0)
        with pytest.raises(refusals.EmailTaken):
            await register(services.store, services.passwords, form("Ben", "A@Example.org"), 0)


async def test_the_right_password_returns_the_account(database_url: str) -> None:
    async with services_on(database_url) as services:
        ann = await a_person(services)
        account = await login(services.store, services.passwords, "ann", "secret")
        assert account == (ann, "ann", 1, "")


@pytest.mark.parametrize("password", ["", "Secret", "secret ", "secret\0", "secre"])
async def test_any_other_password_is_refused(database_url: str, password: str) -> None:
    async with services_on(database_url) as services:
        await a_person(services)
        with pytest.raises(WrongPassword):
            await login(services.store, services.passwords, "ann", password)


@pytest.mark.parametrize("username", ["", "Ann", "ben"])
async def test_an_unknown_username_is_refused(database_url: str, username: str) -> None:
    async with services_on(database_url) as services:
        await a_person(services)
        with pytest.raises(NotRegistered):
            await login(services.store, services.passwords, username, "secret")


async def test_all_1024_characters_of_a_password_count(database_url: str) -> None:
    async with services_on(database_url) as services:
        await register(
            services.store, services.passwords, RegistrationForm("ann", "a@b.cc", "x" * 1023 + "1"), 0
        )
        await login(services.store, services.passwords, "ann", "x" * 1023 + "1")
        with pytest.raises(WrongPassword):
            await login(services.store, services.passwords, "ann", "x" * 1023 + "2")


async def test_a_username_is_found_in_either_normal_form(database_url: str) -> None:
    async with services_on(database_url) as services:
        await register(
            services.store, services.passwords, RegistrationForm("Ren\u00e9", "a@b.cc", "secret"), 0
        )
        assert (
            await login(services.store, services.passwords, "Rene\u0301", "secret")
        ).username == "Ren\u00e9"


async def test_an_unknown_username_costs_a_password_check(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = []
    real = Passwords.match

    async def match(self: Passwords, password: str, password_hash: str | None) -> bool:
        checked.append(password_hash is not None)
        return await real(self, password, password_hash)

    monkeypatch.setattr(Passwords, "match", match)
    async with services_on(database_url) as services:
        with pytest.raises(NotRegistered):
            await login(services.store, services.passwords, "nobody", "secret")
    assert checked == [False]


async def test_concurrent_password_hashes_are_bounded() -> None:
    passwords = Passwords(cost=4, threads_max=1, waiting_max=2)
    results = await asyncio.gather(*(passwords.hash("secret") for _ in range(5)), return_exceptions=True)
    passwords.close()
    assert [type(r) for r in results] == [str, str, str, TooManyWaiting, TooManyWaiting]


async def test_no_password_matches_a_missing_account() -> None:
    passwords = Passwords(cost=4, threads_max=1, waiting_max=1)
    assert not await passwords.match("any password", None)
    passwords.close()


async def holder(services: Services, email: str) -> object:
    claim = await services.store.find(EmailClaim, services.store.stream_ids.email_claim(email))
    return claim and claim.account_id


async def test_an_update_changes_everything_in_one_append(database_url: str) -> None:
    async with services_on(database_url) as services:
        ann = await a_person(services)
        changes = AccountChanges("New@example.org", "another", "https://example.org/a.png")
        decided = await update_account(services.store, services.passwords, ann, changes)
        account = await account_of(services, ann)
        assert (account.email, account.avatar_url, account.credential) == (
            "New@example.org", "https://example.org/a.png", 2,
        )  # fmt: skip
        assert (await login(services.store, services.passwords, "ann", "another")).credential == 2
        assert (await holder(services, "new@example.org"), await holder(services, "ann@example.org")) == (
            ann,
            None,
        )
        assert decided.position == len(log_rows(database_url)) == 2 + 5


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        (AccountChanges(email="", password="another"), refusals.EmailMissing),
        (AccountChanges(email="bad", password="another"), refusals.EmailMalformed),
        (AccountChanges(email="ben@example.org", password="another"), refusals.EmailTaken),
        (AccountChanges(email="new@example.org", password="short"), refusals.PasswordTooShort),
        (AccountChanges(email="new@example.org", avatar_url="javascript:x"), refusals.AvatarUrlInvalid),
    ],
)
async def test_an_invalid_update_changes_nothing(
    database_url: str, changes: AccountChanges, refusal: type[refusals.Refused]
) -> None:
    async with services_on(database_url) as services:
        ann, _ = await a_person(services), await a_person(services, "ben")
        before = log_rows(database_url)
        with pytest.raises(refusal):
            await update_account(services.store, services.passwords, ann, changes)
        assert log_rows(database_url) == before


async def test_an_update_without_changes_appends_no_event(database_url: str) -> None:
    async with services_on(database_url) as services:
        ann = await a_person(services)
        same = AccountChanges("ann@example.org", None, "")
        for changes in (AccountChanges(), same):
            assert (await update_account(services.store, services.passwords, ann, changes)).position == 0


async def test_another_spelling_of_the_own_email_keeps_the_claim(database_url: str) -> None:
    async with services_on(database_url) as services:
        ann = await a_person(services)
        await update_account(services.store, services.passwords, ann, AccountChanges(email="ANN@example.org"))
        assert (await account_of(services, ann)).email == "ANN@example.org"
        assert await holder(services, "ann@example.org") == ann


async def test_a_replaced_email_is_free_at_once(database_url: str) -> None:
    async with services_on(database_url) as services:
        ann = await a_person(services)
        await update_account(services.store, services.passwords, ann, AccountChanges(email="new@example.org"))
        await register(
            services.store, services.passwords, RegistrationForm("ben", "ann@example.org", "secret"), 0
        )
        with pytest.raises(refusals.EmailTaken):
            await update_account(
                services.store, services.passwords, ann, AccountChanges(email="ann@example.org")
            )


async def test_concurrent_updates_release_every_email_but_the_last(database_url: str) -> None:
    async with services_on(database_url) as here, services_on(database_url) as there:
        ann = await a_person(here)
        addresses = [f"{n}@example.org" for n in range(3)]
        asked = [
            update_account(services.store, services.passwords, ann, AccountChanges(email=address))
            for address, services in zip(addresses, (here, there, here), strict=True)
        ]
        await asyncio.gather(*asked)
        current = (await account_of(here, ann)).email
        held = [a for a in [*addresses, "ann@example.org"] if await holder(here, a) == ann]
        assert held == [current]


async def test_an_email_released_by_another_process_is_claimed_again(
    database_url: str,
) -> None:
    async with services_on(database_url) as here, services_on(database_url) as there:
        ann = await a_person(here, "ann")  # this process caches her claim
        first, second = AccountChanges(email="ann@example.org"), AccountChanges(email="second@example.org")
        await update_account(there.store, there.passwords, ann, second)
        await account_of(here, ann)
        await holder(here, "second@example.org")  # only the first claim is stale here
        await update_account(here.store, here.passwords, ann, first)
        with pytest.raises(refusals.EmailTaken):
            await register(
                there.store, there.passwords, RegistrationForm("ben", "ann@example.org", "secret"), 0
            )


async def test_an_email_that_changes_during_the_update_is_claimed_again(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The account had the address when it was read, and had released it before the append."""
    async with services_on(database_url) as services, services_on(database_url) as other:
        ann, find, reads = await a_person(services), services.store.find, list[object]()

        async def find_then_update_elsewhere(*which: Any) -> Any:
            reads.append(found := await find(*which))
            email = found and getattr(found, "email", None)
            if len(reads) == 2:  # the read that the new address is compared with
                kept = copy.copy(found)
                await update_account(other.store, other.passwords, ann, AccountChanges(email="b@example.org"))
                assert email == "ann@example.org"
                return kept
            return found

        monkeypatch.setattr(services.store, "find", find_then_update_elsewhere)
        await update_account(services.store, services.passwords, ann, AccountChanges(email="ANN@example.org"))
        monkeypatch.undo()
        assert (await account_of(services, ann)).email == "ANN@example.org"
        assert (await holder(services, "ann@example.org"), await holder(services, "b@example.org")) == (
            ann,
            None,
        )
