"""Passwords: hashed with bcrypt at the cost asked for, and matched in whatever alphabet."""

import pytest

from huajuan.passwords import Passwords


@pytest.fixture
def passwords() -> Passwords:
    return Passwords(cost=4, threads_max=1, waiting_max=0)


async def test_a_password_is_hashed_with_bcrypt_at_the_cost(passwords: Passwords) -> None:
    assert (await passwords.hash("secret")).startswith("$2b$04$")


async def test_two_who_chose_the_same_do_not_show_it(passwords: Passwords) -> None:
    assert await passwords.hash("secret") != await passwords.hash("secret")


@pytest.mark.parametrize("password", ["", "密码 🖼", "a\0b", "x" * 73])
async def test_any_text_matches_itself_and_nothing_longer(passwords: Passwords, password: str) -> None:
    known = await passwords.hash(password)
    assert await passwords.match(password, known)
    assert not await passwords.match(password + "x", known)


async def test_a_hash_made_at_another_cost_still_matches(passwords: Passwords) -> None:
    dearer = await Passwords(cost=5, threads_max=1, waiting_max=0).hash("secret")
    assert await passwords.match("secret", dearer)


async def test_room_is_made_again_when_a_hash_fails(passwords: Passwords) -> None:
    for _ in range(3):
        with pytest.raises(ValueError, match="salt"):
            await passwords.match("secret", "no hash at all")
    assert await passwords.hash("secret")
