"""What a username and a password must be like."""

import unicodedata

from huajuan.domain.refusals import NameMissing, NameUnfit, PasswordTooShort

USERNAME_CHARACTERS_MAX = 30
PASSWORD_CHARACTERS_MIN = 6
_UNFIT_CATEGORIES = {"Cc", "Cs", "Zl", "Zp"}
# They turn the direction of a line or cannot be seen, so that one name could pass for another.
_DECEIVING = set("\u061c\u200b\u200e\u200f\ufeff") | {
    chr(n) for n in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))
}


def check_name_given(username: str) -> None:
    if not username:
        raise NameMissing


def check_name_fit(username: str) -> None:
    """Refuse a name too long for a line, or with characters that break one."""
    if len(username) > USERNAME_CHARACTERS_MAX:
        raise NameUnfit
    if any(unicodedata.category(c) in _UNFIT_CATEGORIES or c in _DECEIVING for c in username):
        raise NameUnfit


def check_password(password: str) -> None:
    if len(password) < PASSWORD_CHARACTERS_MIN:
        raise PasswordTooShort


def spell_name(username: str) -> str:
    """The one spelling under which a name is kept and found."""
    return unicodedata.normalize("NFC", username)
