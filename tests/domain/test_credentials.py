"""The rules and normal forms of usernames and passwords."""

import unicodedata
from collections.abc import Iterator

import pytest

from huajuan.domain.credentials import (
    check_password,
    check_username,
    is_password_too_long,
    normalize_password,
    normalize_username,
    password_normal_forms,
)
from huajuan.domain.refusals import PasswordTooShort, UsernameInvalid

# Default_Ignorable_Code_Point, as DerivedCoreProperties.txt of Unicode has it, first and last of each range.
IGNORABLE = """00AD 034F 061C 115F..1160 17B4..17B5 180B..180D 180E 180F 200B..200F 202A..202E 2060..2064 2065
2066..206F 3164 FE00..FE0F FEFF FFA0 FFF0..FFF8 1BCA0..1BCA3 1D173..1D17A E0000 E0001 E0002..E001F
E0020..E007F E0080..E00FF E0100..E01EF E01F0..E0FFF"""
SPACES = "\u0020\u00a0\u1680\u2000\u2003\u2009\u200a\u202f\u205f\u3000"
INVALID_CATEGORIES = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
VALID = [
    "czh0", "小明", "q b", "é", "e\u0301", "à la carte", "O’Neill", "a.b", "...", ".a", "a..b",
    "~!@$^&*()_+-=[]{}|;:'\",<>",
    "🎨", "👍🏽", "🇨🇳", "한국어", "ᄒ", "العربية", "שלום", "हिन्दी",
    "ไทย", "ก็", "\U00020000", "\U00031350", "画" * 30, "％",
]  # fmt: skip


def ignorable() -> Iterator[int]:
    for part in IGNORABLE.split():
        first, _, last = part.partition("..")
        yield from range(int(first, 16), int(last or first, 16) + 1)


def is_valid(name: str) -> bool:
    try:
        check_username(name)
    except UsernameInvalid:
        return False
    return True


@pytest.mark.parametrize("name", VALID)
def test_a_fully_visible_name_is_valid(name: str) -> None:
    check_username(name)


@pytest.mark.parametrize("name", [".", "..", *(f"a{c}b" for c in "/\\?#%"), "/", "%30", "czh%30", "a?b=c#d"])
def test_a_name_that_breaks_a_url_path_is_invalid(name: str) -> None:
    assert not is_valid(name)


def test_invisible_characters_are_invalid_at_any_place() -> None:
    invisible = {*ignorable(), 0x2800}
    assert len(invisible) > 4000
    valid = [hex(n) for n in invisible for name in (f"czh0{chr(n)}", f"c{chr(n)}0", chr(n)) if is_valid(name)]
    assert valid == []


def test_control_and_format_categories_are_invalid() -> None:
    invalid = [chr(n) for n in range(0x110000) if unicodedata.category(chr(n)) in INVALID_CATEGORIES]
    assert [hex(ord(c)) for c in invalid if is_valid(f"a{c}b")] == []


def test_letters_next_to_ignorable_ranges_are_valid() -> None:
    invisible = set(ignorable())
    neighbours = {n + d for n in invisible for d in (-1, 1)} - invisible
    letters = [n for n in neighbours if unicodedata.category(chr(n))[0] in "LNSP"]
    assert len(letters) > 5
    assert [hex(n) for n in letters if not is_valid(f"a{chr(n)}b")] == []


@pytest.mark.parametrize("space", SPACES)
def test_white_space_is_valid_only_inside(space: str) -> None:
    assert is_valid(f"a{space}b")
    assert [is_valid(name) for name in (f"{space}a", f"a{space}", space, f"a {space}")] == [False] * 4


@pytest.mark.parametrize("noncharacter", ["\ufdd0", "\ufdef", "\ufffe", "\uffff", "\U0002ffff", "\U0010fffe"])
def test_noncharacters_and_unassigned_code_points_are_invalid(noncharacter: str) -> None:
    assert not is_valid(f"a{noncharacter}")
    assert not is_valid("a\u0378")


@pytest.mark.parametrize("mark", ["\u0301", "\u0903", "\u20dd", "\u0301" * 5])
def test_a_name_does_not_begin_with_a_combining_mark(mark: str) -> None:
    assert not is_valid(mark)
    assert not is_valid(f"{mark}a")
    assert is_valid(f"ก{mark[:1]}")


def test_emoji_sequences_with_invisible_parts_are_invalid() -> None:
    assert [is_valid(name) for name in ("❤\ufe0f", "👩\u200d🎨", "🏴\U000e0067\U000e007f")] == [False] * 3


def test_the_length_of_a_name_is_counted_in_nfc() -> None:
    assert is_valid("e\u0301" * 30)
    assert is_valid("\u1fa7" * 30)
    assert is_valid(unicodedata.normalize("NFD", "\u1fa7") * 30)
    assert not is_valid("e\u0301" * 31)
    # This one has more code points in NFC.
    assert not is_valid("\u0958" * 16)


def test_a_text_far_too_long_is_not_normalized() -> None:
    """Sorting the combining marks would take minutes."""
    endless = "a" + "\u0315\u0300" * 300_000
    assert normalize_username(endless) is endless
    assert not is_valid(endless)
    assert is_password_too_long(endless)


def test_the_length_of_a_password_is_counted_in_nfc() -> None:
    for five in ("ééééé", "e\u0301" * 5):
        with pytest.raises(PasswordTooShort):
            check_password(five)
    for six in ("éééééé", "e\u0301" * 6, "\u0301" * 6):
        check_password(six)
    for password in ("é" * 1024, "e\u0301" * 1024, "x" * 1024):
        assert not is_password_too_long(password)
        assert is_password_too_long(password + "x")


@pytest.mark.parametrize(
    ("sent", "forms"),
    [
        ("secret", ["secret"]),
        ("密码", ["密码"]),
        ("\u00e9", ["\u00e9", "e\u0301"]),
        ("e\u0301", ["\u00e9", "e\u0301"]),
        ("\u00e9e\u0301", ["\u00e9\u00e9", "\u00e9e\u0301", "e\u0301e\u0301"]),
        ("가", ["가", "\u1100\u1161"]),
    ],
)
def test_normal_forms_are_distinct_and_nfc_is_first(sent: str, forms: list[str]) -> None:
    assert list(password_normal_forms(sent)) == forms
    assert normalize_password(sent) == forms[0]
