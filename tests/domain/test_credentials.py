"""What a name and a password must be like, character by character."""

import unicodedata
from collections.abc import Iterator

import pytest

from huajuan.domain.credentials import (
    check_name_fit,
    check_password,
    is_password_too_long,
    spell_name,
    spell_password,
    spellings_of_password,
)
from huajuan.domain.refusals import NameUnfit, PasswordTooShort

# Default_Ignorable_Code_Point, as DerivedCoreProperties.txt of Unicode has it, first and last of each range.
IGNORABLE = """00AD 034F 061C 115F..1160 17B4..17B5 180B..180D 180E 180F 200B..200F 202A..202E 2060..2064 2065
2066..206F 3164 FE00..FE0F FEFF FFA0 FFF0..FFF8 1BCA0..1BCA3 1D173..1D17A E0000 E0001 E0002..E001F E0020..E007F
E0080..E00FF E0100..E01EF E01F0..E0FFF"""
SPACES = "\u0020\u00a0\u1680\u2000\u2003\u2009\u200a\u202f\u205f\u3000"
UNFIT_CATEGORIES = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
FIT = [
    "czh0", "小明", "q b", "é", "e\u0301", "à la carte", "O’Neill", "a.b", "...", ".a", "a..b", "~!@$^&*()_+-=[]{}|;:'\",<>",
    "🎨", "👍🏽", "🇨🇳", "한국어", "ᄒ", "العربية", "שלום", "हिन्दी", "ไทย", "ก็", "\U00020000", "\U00031350", "画" * 30, "％",
]  # fmt: skip


def ignorable() -> Iterator[int]:
    for part in IGNORABLE.split():
        first, _, last = part.partition("..")
        yield from range(int(first, 16), int(last or first, 16) + 1)


def is_fit(name: str) -> bool:
    try:
        check_name_fit(name)
    except NameUnfit:
        return False
    return True


@pytest.mark.parametrize("name", FIT)
def test_a_name_that_can_be_seen_whole_is_fit(name: str) -> None:
    check_name_fit(name)


@pytest.mark.parametrize("name", [".", "..", *(f"a{c}b" for c in "/\\?#%"), "/", "%30", "czh%30", "a?b=c#d"])
def test_a_name_that_cannot_stand_in_a_path_is_unfit(name: str) -> None:
    assert not is_fit(name)


def test_whatever_cannot_be_seen_is_unfit_wherever_it_stands() -> None:
    unseen = {*ignorable(), 0x2800}
    assert len(unseen) > 4000
    fit = [hex(n) for n in unseen for name in (f"czh0{chr(n)}", f"c{chr(n)}0", chr(n)) if is_fit(name)]
    assert fit == []


def test_whole_categories_are_unfit() -> None:
    unfit = [chr(n) for n in range(0x110000) if unicodedata.category(chr(n)) in UNFIT_CATEGORIES]
    assert [hex(ord(c)) for c in unfit if is_fit(f"a{c}b")] == []


def test_neighbours_of_what_is_ignorable_are_fit_unless_they_are_something_else() -> None:
    unseen = set(ignorable())
    neighbours = {n + d for n in unseen for d in (-1, 1)} - unseen
    letters = [n for n in neighbours if unicodedata.category(chr(n))[0] in "LNSP"]
    assert len(letters) > 5
    assert [hex(n) for n in letters if not is_fit(f"a{chr(n)}b")] == []


@pytest.mark.parametrize("space", SPACES)
def test_white_space_stands_inside_alone(space: str) -> None:
    assert is_fit(f"a{space}b")
    assert [is_fit(name) for name in (f"{space}a", f"a{space}", space, f"a {space}")] == [False] * 4


@pytest.mark.parametrize("noncharacter", ["\ufdd0", "\ufdef", "\ufffe", "\uffff", "\U0002ffff", "\U0010fffe"])
def test_noncharacters_and_unassigned_ones_are_unfit(noncharacter: str) -> None:
    assert not is_fit(f"a{noncharacter}")
    assert not is_fit("a\u0378")


@pytest.mark.parametrize("mark", ["\u0301", "\u0903", "\u20dd", "\u0301" * 5])
def test_a_name_begins_with_no_mark_for_another_letter(mark: str) -> None:
    assert not is_fit(mark)
    assert not is_fit(f"{mark}a")
    assert is_fit(f"ก{mark[:1]}")


def test_emoji_of_several_parts_need_what_is_invisible_and_are_unfit() -> None:
    assert [is_fit(name) for name in ("❤\ufe0f", "👩\u200d🎨", "🏴\U000e0067\U000e007f")] == [False] * 3


def test_a_length_counts_in_nfc() -> None:
    assert is_fit("e\u0301" * 30)
    assert is_fit("\u1fa7" * 30)
    assert is_fit(unicodedata.normalize("NFD", "\u1fa7") * 30)
    assert not is_fit("e\u0301" * 31)
    # This one has more code points in NFC.
    assert not is_fit("\u0958" * 16)


def test_what_is_far_too_long_is_not_normalized() -> None:
    """It would take minutes: marks are put in order, each past all others."""
    endless = "a" + "\u0315\u0300" * 300_000
    assert spell_name(endless) is endless
    assert not is_fit(endless)
    assert is_password_too_long(endless)


def test_a_password_is_as_long_as_it_is_in_nfc() -> None:
    for five in ("ééééé", "e\u0301" * 5):
        with pytest.raises(PasswordTooShort):
            check_password(five)
    for six in ("éééééé", "e\u0301" * 6, "\u0301" * 6):
        check_password(six)
    for password in ("é" * 1024, "e\u0301" * 1024, "x" * 1024):
        assert not is_password_too_long(password)
        assert is_password_too_long(password + "x")


@pytest.mark.parametrize(
    ("sent", "spellings"),
    [
        ("secret", ["secret"]),
        ("密码", ["密码"]),
        ("\u00e9", ["\u00e9", "e\u0301"]),
        ("e\u0301", ["\u00e9", "e\u0301"]),
        ("\u00e9e\u0301", ["\u00e9\u00e9", "\u00e9e\u0301", "e\u0301e\u0301"]),
        ("가", ["가", "\u1100\u1161"]),
    ],
)
def test_spellings_are_tried_nfc_first_and_each_once(sent: str, spellings: list[str]) -> None:
    assert list(spellings_of_password(sent)) == spellings
    assert spell_password(sent) == spellings[0]
