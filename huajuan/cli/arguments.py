"""Checks the words that several verbs take."""

import re
from argparse import ArgumentTypeError
from collections.abc import Sequence

from huajuan.cli.command import CannotDo
from huajuan.domain.reasons import REASON_CHARACTERS_MAX, check_reason
from huajuan.domain.refusals import ReasonRefused, ReasonTooLong

UNASKED_REASON = "on the command line"
_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,18}")


def check_readable(words: Sequence[str]) -> None:
    """Raises `CannotDo` for a word that is no UTF-8: it could neither be looked up nor be put on record."""
    for number, word in enumerate(words, 1):
        try:
            word.encode()
        except UnicodeEncodeError:
            raise CannotDo(f"word {number} of the command line is not UTF-8") from None


def whole_number(text: str) -> int:
    """Python's own reading takes the digits of every script, and underlines between them."""
    if not _WHOLE_NUMBER.fullmatch(text):
        raise ArgumentTypeError(f"{text!r} is no whole number in the digits 0 to 9")
    return int(text)


def signed_number(text: str) -> int:
    """`50` could be meant to give or to set; the sign says what is to happen."""
    number = whole_number(text)
    if text[0] not in "+-":
        raise ArgumentTypeError(f"{text!r} has no sign: +{text} gives, -{text} takes")
    return number


def positive_number(text: str) -> int:
    number = whole_number(text)
    if number < 1:
        raise ArgumentTypeError(f"{text!r} is not 1 or more")
    return number


def file_named(name: str) -> str:
    """Raises `CannotDo` for a name that names nothing, as an unset variable of a script gives it."""
    if not name:
        raise CannotDo("a file's name must not be empty")
    return name


def reason_given(text: str | None) -> str:
    """What goes on record. Raises `CannotDo` for a reason that an admin could not give either."""
    if text is None:
        return UNASKED_REASON
    reason = text.strip()
    try:
        check_reason(reason)
    except ReasonTooLong:
        length = f"{len(reason):,} characters, and up to {REASON_CHARACTERS_MAX} go on record"
        raise CannotDo(f"the reason is too long: {length}") from None
    except ReasonRefused:
        raise CannotDo(f"a reason is one line of up to {REASON_CHARACTERS_MAX} characters") from None
    return reason
