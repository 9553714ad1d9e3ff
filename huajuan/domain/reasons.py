"""What an admin's reason may be."""

import unicodedata

from huajuan.domain.refusals import ReasonMissing, ReasonTooLong, ReasonUnprintable

REASON_CHARACTERS_MAX = 500
EMOJI_JOINER = "\N{ZERO WIDTH JOINER}"


def check_reason(reason: str) -> None:
    """One line of printable text, 1 to 500 characters. Raises a `ReasonRefused`."""
    if not reason.strip():
        raise ReasonMissing
    if len(reason) > REASON_CHARACTERS_MAX:
        raise ReasonTooLong
    if not all(map(_is_shown, reason)):
        raise ReasonUnprintable


def _is_shown(character: str) -> bool:
    """Any space of one line is, also the ideographic one, and what joins the parts of an emoji."""
    is_space = unicodedata.category(character) == "Zs"
    return character.isprintable() or is_space or character == EMOJI_JOINER
