"""Registering: the first thing wrong is named, and names and addresses are unique under races."""

import asyncio

import pytest

from huajuan.commands.register import Form, register
from huajuan.domain import refusals
from huajuan.domain.account import Account
from huajuan.domain.aggregate import Entity
from huajuan.domain.email_claim import EmailClaim
from huajuan.event_store.loader import Stream
from tests.commands.people import a_person, account_of
from tests.services import desk_on

RACERS = 100


def form(username: str = "ann", email: str = "ann@example.org", password: str = "secret") -> Form:
    return Form(username, email, password)


async def test_a_new_account_has_its_welcome_points_and_is_its_own_actor(database_url: str) -> None:
    async with desk_on(database_url) as desk:
        decided = await register(desk.store, desk.passwords, form(), 40)
        account = await account_of(desk, decided.aggregates[0].id)
        assert (account.username, account.email, account.balance) == ("ann", "ann@example.org", 40)
        async with desk.store._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT convert_from(state, 'UTF8')::json->>'actor' FROM log.huajuan_events"
            )
            assert {actor for (actor,) in await cursor.fetchall()} == {str(account.id)}


@pytest.mark.parametrize(
    ("application", "refusal"),
    [
        (form(username="", email="", password=""), refusals.NameMissing),
        (form(email="", password=""), refusals.EmailMissing),
        (form(email="bad", password="12345"), refusals.PasswordTooShort),
        (form(email="bad"), refusals.EmailMalformed),
        (form(username="taken", email="taken@example.org"), refusals.NameTaken),
        (form(username="x" * 31, email="TAKEN@example.org"), refusals.EmailTaken),
        (form(username="x" * 31), refusals.NameUnfit),
        (form(username="a\nb"), refusals.NameUnfit),
    ],
)
async def test_the_first_thing_wrong_is_named(
    database_url: str, application: Form, refusal: type[refusals.Refused]
) -> None:
    async with desk_on(database_url) as desk:
        await a_person(desk, "taken")
        with pytest.raises(refusal):
            await register(desk.store, desk.passwords, application, 0)


async def test_of_100_at_once_one_gets_the_name(database_url: str) -> None:
    async with desk_on(database_url) as here, desk_on(database_url) as there:
        applications = [
            register(desk.store, desk.passwords, form(email=f"{n}@example.org"), 0)
            for n in range(RACERS // 2)
            for desk in (here, there)
        ]
        results = await asyncio.gather(*applications, return_exceptions=True)
        kinds = [type(r).__name__ for r in results]
        # Both of a pair ask for the same address too; whoever has the name has the address.
        assert kinds.count("Decided") == 1
        assert kinds.count("NameTaken") == RACERS - 1


async def test_of_100_at_once_one_gets_the_address(database_url: str) -> None:
    async with desk_on(database_url) as here, desk_on(database_url) as there:
        applications = [
            register(desk.store, desk.passwords, form(f"{place}{n}"), 0)
            for n in range(RACERS // 2)
            for place, desk in (("here", here), ("there", there))
        ]
        results = await asyncio.gather(*applications, return_exceptions=True)
        kinds = [type(r).__name__ for r in results]
        assert (kinds.count("Decided"), kinds.count("EmailTaken")) == (1, RACERS - 1)
        winner = next(r for r in results if not isinstance(r, BaseException))
        claim = await here.store.find(EmailClaim, here.store.stream_ids.email_claim("ANN@example.org"))
        assert claim
        assert claim.account_id == winner.aggregates[0].id


async def test_an_address_that_was_given_up_can_be_had_again(database_url: str) -> None:
    async with desk_on(database_url) as desk:
        ann = await a_person(desk, "ann")
        claim_id = desk.store.stream_ids.email_claim("ann@example.org")

        def give_up(account: Account | None, claim: EmailClaim | None) -> list[Entity]:
            assert account
            assert claim
            account.change_email("other@example.org")
            claim.release()
            return [account, claim]

        await desk.store.change(give_up, Stream(Account, ann), Stream(EmailClaim, claim_id))
        decided = await register(desk.store, desk.passwords, form("ben"), 0)
        claim = await desk.store.find(EmailClaim, claim_id)
        assert claim
        assert claim.account_id == decided.aggregates[0].id


async def test_names_differ_by_case_and_addresses_do_not(database_url: str) -> None:
    async with desk_on(database_url) as desk:
        await register(desk.store, desk.passwords, form("Ann", "a@example.org"), 0)
        await register(desk.store, desk.passwords, form("ann", "b@example.org"), 0)
        with pytest.raises(refusals.EmailTaken):
            await register(desk.store, desk.passwords, form("Ben", "A@Example.org"), 0)
