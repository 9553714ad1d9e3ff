"""Checks the words that several verbs take."""

import re
from argparse import ArgumentTypeError
from collections.abc import Sequence

from huajuan.command_line.verb import CannotDo
from huajuan.domain.reasons import REASON_CHARACTERS_MAX, check_reason
from huajuan.domain.refusals import ReasonMissing

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


def account_number(text: str) -> int:
    number = whole_number(text)
    if number < 1:
        raise ArgumentTypeError(f"{text!r} is no account's id")
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
    except ReasonMissing:
        raise CannotDo(f"a reason is one line of up to {REASON_CHARACTERS_MAX} characters") from None
    return reason
