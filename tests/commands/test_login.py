"""Logging in: every character of a password counts, and time tells nothing of who is registered."""

import pytest

from huajuan.auth.passwords import Passwords
from huajuan.commands.login import login
from huajuan.commands.register import Form, register
from huajuan.domain.refusals import NotRegistered, WrongPassword
from huajuan.runtime.threads import TooManyWaiting
from tests.commands.people import a_person
from tests.services import desk_on


async def test_the_right_password_tells_who_it_is(database_url: str) -> None:
    async with desk_on(database_url) as desk:
        ann = await a_person(desk)
        known = await login(desk.store, desk.passwords, "ann", "secret")
        assert known == (ann, "ann", 1, "")


@pytest.mark.parametrize("password", ["", "Secret", "secret ", "secret\0", "secre"])
async def test_any_other_password_is_refused(database_url: str, password: str) -> None:
    async with desk_on(database_url) as desk:
        await a_person(desk)
        with pytest.raises(WrongPassword):
            await login(desk.store, desk.passwords, "ann", password)


@pytest.mark.parametrize("username", ["", "Ann", "ben"])
async def test_an_unknown_name_is_refused(database_url: str, username: str) -> None:
    async with desk_on(database_url) as desk:
        await a_person(desk)
        with pytest.raises(NotRegistered):
            await login(desk.store, desk.passwords, username, "secret")


async def test_the_last_of_1024_characters_counts(database_url: str) -> None:
    async with desk_on(database_url) as desk:
        await register(desk.store, desk.passwords, Form("ann", "a@b.cc", "x" * 1023 + "1"), 0)
        await login(desk.store, desk.passwords, "ann", "x" * 1023 + "1")
        with pytest.raises(WrongPassword):
            await login(desk.store, desk.passwords, "ann", "x" * 1023 + "2")


async def test_a_name_is_found_in_either_spelling(database_url: str) -> None:
    async with desk_on(database_url) as desk:
        await register(desk.store, desk.passwords, Form("Ren\u00e9", "a@b.cc", "secret"), 0)
        assert (await login(desk.store, desk.passwords, "Rene\u0301", "secret")).username == "Ren\u00e9"


async def test_an_unknown_name_costs_a_password_check_too(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = []
    real = Passwords.match

    async def match(self: Passwords, password: str, password_hash: str | None) -> bool:
        checked.append(password_hash is not None)
        return await real(self, password, password_hash)

    monkeypatch.setattr(Passwords, "match", match)
    async with desk_on(database_url) as desk:
        with pytest.raises(NotRegistered):
            await login(desk.store, desk.passwords, "nobody", "secret")
    assert checked == [False]


async def test_passwords_are_hashed_in_a_bounded_number_at_a_time() -> None:
    import asyncio

    passwords = Passwords(cost=4, threads_max=1, waiting_max=2)
    results = await asyncio.gather(*(passwords.hash("secret") for _ in range(5)), return_exceptions=True)
    passwords.close()
    assert [type(r) for r in results] == [str, str, str, TooManyWaiting, TooManyWaiting]


async def test_nobodys_password_is_nobodys() -> None:
    passwords = Passwords(cost=4, threads_max=1, waiting_max=1)
    assert not await passwords.match("nobody's password", None)
    passwords.close()
