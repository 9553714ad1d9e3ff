"""Passwords: hashed with bcrypt at the given cost, and matched in any alphabet."""

import unicodedata
from typing import Literal

import bcrypt
import pytest

from huajuan.auth.passwords import Passwords, _digest


@pytest.fixture
def passwords() -> Passwords:
    return Passwords(cost=4, threads_max=1, waiting_max=0)


async def test_a_password_is_hashed_with_bcrypt_at_the_cost(passwords: Passwords) -> None:
    assert (await passwords.hash("secret")).startswith("$2b$04$")


async def test_equal_passwords_have_different_hashes(passwords: Passwords) -> None:
    assert await passwords.hash("secret") != await passwords.hash("secret")


@pytest.mark.parametrize("password", ["", "密码 🖼", "a\0b", "x" * 73])
async def test_any_text_matches_itself_and_nothing_longer(passwords: Passwords, password: str) -> None:
    known = await passwords.hash(password)
    assert await passwords.match(password, known)
    assert not await passwords.match(password + "x", known)


async def test_a_hash_made_at_another_cost_still_matches(passwords: Passwords) -> None:
    dearer = await Passwords(cost=5, threads_max=1, waiting_max=0).hash("secret")
    assert await passwords.match("secret", dearer)


async def test_a_failed_hash_frees_its_slot(passwords: Passwords) -> None:
    for _ in range(3):
        with pytest.raises(ValueError, match="salt"):
            await passwords.match("secret", "no hash at all")
    assert await passwords.hash("secret")


FORMS: list[Literal["NFC", "NFD"]] = ["NFC", "NFD"]
TYPED = ["sécret", "mật khẩu", "비밀번호", "Å ﬁ", "が"]


@pytest.mark.parametrize("password", TYPED)
async def test_a_password_matches_however_its_accents_were_typed(passwords: Passwords, password: str) -> None:
    first, second = (unicodedata.normalize(form, password) for form in FORMS)
    for known in (await passwords.hash(first), await passwords.hash(second)):
        assert [await passwords.match(sent, known) for sent in (first, second)] == [True, True]
        assert not await passwords.match(f"{first}e", known)
    assert not await passwords.match("secret", await passwords.hash("sécret"))


@pytest.mark.parametrize("password", TYPED)
async def test_the_nfc_form_is_hashed(passwords: Passwords, password: str) -> None:
    nfc, nfd = (unicodedata.normalize(form, password) for form in FORMS)
    assert nfc != nfd
    known = (await passwords.hash(nfd)).encode()
    assert [bcrypt.checkpw(_digest(form), known) for form in (nfc, nfd)] == [True, False]


@pytest.mark.parametrize("old", ["s\u00e9cret", "se\u0301cret", "s\u00e9cre\u0301t"])
async def test_a_hash_from_before_nfc_still_matches(passwords: Passwords, old: str) -> None:
    known = bcrypt.hashpw(_digest(old), bcrypt.gensalt(4)).decode()
    assert await passwords.match(old, known)
    if old in {unicodedata.normalize(form, old) for form in FORMS}:
        assert all([await passwords.match(unicodedata.normalize(form, old), known) for form in FORMS])


@pytest.mark.parametrize(
    ("sent", "work"), [("secret", 1), ("密码密码", 1), ("\u00e9", 2), ("\u00e9e\u0301", 3)]
)
async def test_the_work_is_bounded_and_equal_without_a_hash(
    passwords: Passwords, monkeypatch: pytest.MonkeyPatch, sent: str, work: int
) -> None:
    known, compared = await passwords.hash("another"), []
    checkpw = bcrypt.checkpw

    def counted(password: bytes, salted: bytes) -> bool:
        compared.append(salted)
        return checkpw(password, salted)

    monkeypatch.setattr(bcrypt, "checkpw", counted)
    for password_hash in (known, None):
        compared.clear()
        assert not await passwords.match(sent, password_hash)
        assert len(compared) == work
