"""Parses and checks arguments that several commands have."""

import re
from argparse import ArgumentTypeError
from collections.abc import Sequence

from huajuan.cli.command import CommandError
from huajuan.domain.refusals import ReasonInvalid, ReasonTooLong
from huajuan.domain.rules import REASON_CHARACTERS_MAX, check_reason

DEFAULT_REASON = "on the command line"
_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,18}")


def check_utf8(arguments: Sequence[str]) -> None:
    """Raises `CommandError` for an argument that is not UTF-8: it cannot be looked up or stored."""
    for number, argument in enumerate(arguments, 1):
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise CommandError(f"argument {number} of the command line is not UTF-8") from None


def whole_number(text: str) -> int:
    """Only the digits 0 to 9: `int` accepts the digits of all scripts, and underscores."""
    if not _WHOLE_NUMBER.fullmatch(text):
        raise ArgumentTypeError(f"{text!r} is not a whole number in the digits 0 to 9")
    return int(text)


def signed_number(text: str) -> int:
    """A number without a sign is rejected: `50` could mean to add 50 or to set the balance to 50."""
    number = whole_number(text)
    if text[0] not in "+-":
        raise ArgumentTypeError(f"{text!r} has no sign: +{text} adds points, -{text} deducts them")
    return number


def positive_number(text: str) -> int:
    number = whole_number(text)
    if number < 1:
        raise ArgumentTypeError(f"{text!r} is not 1 or more")
    return number


def require_file_name(name: str) -> str:
    """Raises `CommandError` for an empty name, as from an unset variable of a script."""
    if not name:
        raise CommandError("a file's name must not be empty")
    return name


def parse_reason(text: str | None) -> str:
    """The reason that the log records. Raises `CommandError` for one that the API would reject too."""
    if text is None:
        return DEFAULT_REASON
    reason = text.strip()
    try:
        check_reason(reason)
    except ReasonTooLong:
        length = f"{len(reason):,} characters, and the maximum is {REASON_CHARACTERS_MAX}"
        raise CommandError(f"the reason is too long: {length}") from None
    except ReasonInvalid:
        raise CommandError(f"a reason is one line of up to {REASON_CHARACTERS_MAX} characters") from None
    return reason
