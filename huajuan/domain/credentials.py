"""Rules and normal forms of usernames and passwords."""

import unicodedata
from typing import NamedTuple
from uuid import UUID

from huajuan.domain.refusals import PasswordTooShort, UsernameInvalid, UsernameMissing

USERNAME_CHARACTERS_MAX = 30
PASSWORD_CHARACTERS_MIN = 6
PASSWORD_CHARACTERS_MAX = 1024
# NFC composes at most this many code points into one character.
CODE_POINTS_OF_CHARACTER_MAX = 4
# Normalization takes quadratic time on long runs of combining marks, so longer texts are not normalized.
_NAME_CODE_POINTS_MAX = USERNAME_CHARACTERS_MAX * CODE_POINTS_OF_CHARACTER_MAX
_PASSWORD_CODE_POINTS_MAX = PASSWORD_CHARACTERS_MAX * CODE_POINTS_OF_CHARACTER_MAX
# Control, format, surrogate, private use, line and paragraph separator.
_UNFIT_CATEGORIES = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
_UNASSIGNED = "Cn"
# Planes 2 and 3 hold only ideographs. Names use rare ones that are newer than Python's Unicode tables.
_IDEOGRAPHS = range(0x20000, 0x3FFFE)
_NONCHARACTER_MASK = 0xFFFE
# Characters with a meaning in URLs.
_URL_CHARACTERS = frozenset("/\\?#%")
# HTTP clients remove a path segment of this name before they send the request.
_DOT_SEGMENTS = frozenset({".", ".."})
# Unicode's Default_Ignorable_Code_Point, and U+2800, which has no visible glyph.
_INVISIBLE = (
    *(range(0xAD, 0xAE), range(0x34F, 0x350), range(0x61C, 0x61D), range(0x115F, 0x1161)),
    *(range(0x17B4, 0x17B6), range(0x180B, 0x1810), range(0x200B, 0x2010), range(0x202A, 0x202F)),
    *(range(0x2060, 0x2070), range(0x2800, 0x2801), range(0x3164, 0x3165), range(0xFE00, 0xFE10)),
    *(range(0xFEFF, 0xFF00), range(0xFFA0, 0xFFA1), range(0xFFF0, 0xFFF9), range(0x1BCA0, 0x1BCA4)),
    *(range(0x1D173, 0x1D17B), range(0xE0000, 0xE1000)),
)


class AuthenticatedAccount(NamedTuple):
    """An account whose password was verified. `credential` counts its passwords; tokens carry it."""

    account_id: UUID
    username: str
    credential: int
    avatar_url: str


def require_username(username: str) -> None:
    """Raises `UsernameMissing`."""
    if not username:
        raise UsernameMissing


def check_username(username: str) -> None:
    """Raises `UsernameInvalid` if the name is too long, not fully visible, or not usable in a URL path."""
    name = normalize_username(username)
    if len(name) > USERNAME_CHARACTERS_MAX or name in _DOT_SEGMENTS or name != name.strip():
        raise UsernameInvalid
    if unicodedata.category(name[0]).startswith("M") or not all(map(_is_allowed, name)):
        raise UsernameInvalid


def check_password(password: str) -> None:
    """The length is counted in NFC, so it does not depend on the input method. Raises `PasswordTooShort`."""
    if len(normalize_password(password)) < PASSWORD_CHARACTERS_MIN:
        raise PasswordTooShort


def is_password_too_long(password: str) -> bool:
    """The length is counted in NFC."""
    if len(password) <= PASSWORD_CHARACTERS_MAX:
        return False
    exceeds_any_form = len(password) > _PASSWORD_CODE_POINTS_MAX
    return exceeds_any_form or len(normalize_password(password)) > PASSWORD_CHARACTERS_MAX


def normalize_username(username: str) -> str:
    """Return the NFC form, under which a name is stored and looked up."""
    if len(username) > _NAME_CODE_POINTS_MAX:
        return username  # longer than any valid name
    return unicodedata.normalize("NFC", username)


def normalize_password(password: str) -> str:
    """Return the NFC form, which is hashed."""
    return unicodedata.normalize("NFC", password)


def password_normal_forms(password: str) -> tuple[str, ...]:
    """Return the distinct forms that a stored hash may have been computed from: NFC, as sent, NFD."""
    decomposed = unicodedata.normalize("NFD", password)
    return tuple(dict.fromkeys((normalize_password(password), password, decomposed)))


def _is_allowed(character: str) -> bool:
    point, category = ord(character), unicodedata.category(character)
    if category == _UNASSIGNED:
        return point in _IDEOGRAPHS and point & _NONCHARACTER_MASK != _NONCHARACTER_MASK
    return (
        category not in _UNFIT_CATEGORIES
        and character not in _URL_CHARACTERS
        and not any(point in invisible for invisible in _INVISIBLE)
    )
