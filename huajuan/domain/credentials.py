"""What a username and a password must be like."""

import unicodedata

from huajuan.domain.refusals import NameMissing, NameUnfit, PasswordTooShort

USERNAME_CHARACTERS_MAX = 30
PASSWORD_CHARACTERS_MIN = 6
PASSWORD_CHARACTERS_MAX = 1024
# NFC makes one character of at most so many code points.
CODE_POINTS_OF_CHARACTER_MAX = 4
# Normalization takes quadratic time on long runs of combining marks, so longer texts are never normalized.
_NAME_CODE_POINTS_MAX = USERNAME_CHARACTERS_MAX * CODE_POINTS_OF_CHARACTER_MAX
_PASSWORD_CODE_POINTS_MAX = PASSWORD_CHARACTERS_MAX * CODE_POINTS_OF_CHARACTER_MAX
# Control, format, surrogate, private use, line and paragraph separator.
_UNFIT_CATEGORIES = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
_UNASSIGNED = "Cn"
# Planes 2 and 3 hold ideographs alone: rare ones, newer than our tables, are used in names.
_IDEOGRAPHS = range(0x20000, 0x3FFFE)
_NONCHARACTER_MASK = 0xFFFE
# They have a meaning in URLs, or separate the parts of a path.
_OF_URLS = frozenset("/\\?#%")
# A path segment of this name is removed by clients before they send it.
_DOT_SEGMENTS = frozenset({".", ".."})
# Unicode's Default_Ignorable_Code_Point, and U+2800, a letter without ink.
_INVISIBLE = (
    *(range(0xAD, 0xAE), range(0x34F, 0x350), range(0x61C, 0x61D), range(0x115F, 0x1161)),
    *(range(0x17B4, 0x17B6), range(0x180B, 0x1810), range(0x200B, 0x2010), range(0x202A, 0x202F)),
    *(range(0x2060, 0x2070), range(0x2800, 0x2801), range(0x3164, 0x3165), range(0xFE00, 0xFE10)),
    *(range(0xFEFF, 0xFF00), range(0xFFA0, 0xFFA1), range(0xFFF0, 0xFFF9), range(0x1BCA0, 0x1BCA4)),
    *(range(0x1D173, 0x1D17B), range(0xE0000, 0xE1000)),
)


def check_name_given(username: str) -> None:
    if not username:
        raise NameMissing


def check_name_fit(username: str) -> None:
    """Refuse a name that is too long, cannot be seen whole, or cannot stand in a path of a URL."""
    name = spell_name(username)
    if len(name) > USERNAME_CHARACTERS_MAX or name in _DOT_SEGMENTS or name != name.strip():
        raise NameUnfit
    if unicodedata.category(name[0]).startswith("M") or not all(map(_is_fit, name)):
        raise NameUnfit


def check_password(password: str) -> None:
    """The length counts in NFC, so that it is the same however the password was typed."""
    if len(spell_password(password)) < PASSWORD_CHARACTERS_MIN:
        raise PasswordTooShort


def is_password_too_long(password: str) -> bool:
    """This length counts in NFC as well."""
    if len(password) <= PASSWORD_CHARACTERS_MAX:
        return False
    is_beyond_all = len(password) > _PASSWORD_CODE_POINTS_MAX
    return is_beyond_all or len(spell_password(password)) > PASSWORD_CHARACTERS_MAX


def spell_name(username: str) -> str:
    """The one spelling under which a name is kept and found: NFC."""
    if len(username) > _NAME_CODE_POINTS_MAX:
        # It is no name of anybody.
        return username
    return unicodedata.normalize("NFC", username)


def spell_password(password: str) -> str:
    """The spelling that is hashed: NFC."""
    return unicodedata.normalize("NFC", password)


def spellings_of_password(password: str) -> tuple[str, ...]:
    """Those that a stored hash may have been made of, each once: NFC, as sent, NFD."""
    decomposed = unicodedata.normalize("NFD", password)
    return tuple(dict.fromkeys((spell_password(password), password, decomposed)))


def _is_fit(character: str) -> bool:
    point, category = ord(character), unicodedata.category(character)
    if category == _UNASSIGNED:
        return point in _IDEOGRAPHS and point & _NONCHARACTER_MASK != _NONCHARACTER_MASK
    return (
        category not in _UNFIT_CATEGORIES
        and character not in _OF_URLS
        and not any(point in invisible for invisible in _INVISIBLE)
    )
