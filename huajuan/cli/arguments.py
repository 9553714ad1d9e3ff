"""Arguments that several commands have: numbers, reasons, file names, and the account."""

import re
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Sequence

from huajuan.domain.refusals import ReasonInvalid, ReasonTooLong
from huajuan.domain.rules import REASON_CHARACTERS_MAX, check_reason
from huajuan.runtime.errors import OperatorError

DEFAULT_REASON = "on the command line"
ID_HELP = "the account's id instead, as in the lists of users"
_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,18}")


def check_utf8(arguments: Sequence[str]) -> None:
    """Raises `OperatorError` for an argument that is not UTF-8: it cannot be looked up or stored."""
    for number, argument in enumerate(arguments, 1):
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise OperatorError(f"argument {number} of the command line is not UTF-8") from None


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


def positive_number(text: str, wanted: str = "1 or more") -> int:
    number = whole_number(text)
    if number < 1:
        raise ArgumentTypeError(f"{text!r} is not {wanted}")
    return number


def account_number(text: str) -> int:
    return positive_number(text, "an id of an account")


def require_file_name(name: str) -> str:
    """Raises `OperatorError` for an empty name, as from an unset variable of a script."""
    if not name:
        raise OperatorError("a file's name must not be empty")
    return name


def parse_reason(text: str | None) -> str:
    """The reason that the log records. Raises `OperatorError` for one that the API would reject too."""
    if text is None:
        return DEFAULT_REASON
    reason = text.strip()
    try:
        check_reason(reason)
    except ReasonTooLong:
        length = f"{len(reason):,} characters, and the maximum is {REASON_CHARACTERS_MAX}"
        raise OperatorError(f"the reason is too long: {length}") from None
    except ReasonInvalid:
        raise OperatorError(f"a reason is one line of up to {REASON_CHARACTERS_MAX} characters") from None
    return reason


def add_account_arguments(parser: ArgumentParser, name_help: str = "the account's username") -> None:
    """Adds NAME and `--id N`. NAME is not required with `--id`, which the parser cannot express."""
    parser.add_argument("--id", type=account_number, metavar="N", help=ID_HELP)
    options = sys.argv[1 : sys.argv.index("--") if "--" in sys.argv else None]
    if any(option.partition("=")[0] == "--id" for option in options):
        parser.set_defaults(name=None)
    else:
        parser.add_argument("name", metavar="NAME", help=name_help)


def is_by_id(arguments: Namespace) -> bool:
    """Whether the account is given by `--id`. Raises `OperatorError` for a name together with an id."""
    if arguments.id is not None and arguments.name is not None:
        raise OperatorError("give the account's name or --id, not both")
    return arguments.id is not None


def unknown_id(number: int) -> OperatorError:
    return OperatorError(f"there is no account with the id {number}")
