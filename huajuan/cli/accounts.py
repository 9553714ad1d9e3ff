"""Which account a command is about: a username, or the account's id behind `--id`."""

import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from typing import NamedTuple
from uuid import UUID

import psycopg

from huajuan.audit.errors import AuditError
from huajuan.audit.replay import account_of, account_registered_at
from huajuan.cli.arguments import whole_number
from huajuan.cli.command import CannotDo
from huajuan.cli.output import printable
from huajuan.event_store.registrations import account_registered_at as find_account
from huajuan.event_store.store import EventStore

_OPTION = "--id"
ID_HELP = "the account's id instead, as the lists of users have it"


class Whom(NamedTuple):
    """`name` is how messages call the account."""

    account_id: UUID
    name: str


def account_words(parser: ArgumentParser, name_help: str = "the account's username") -> None:
    """Adds NAME and `--id N`. NAME is not asked for where `--id` is given: the parser cannot tell by itself."""
    parser.add_argument(_OPTION, type=account_number, metavar="N", help=ID_HELP)
    if _is_by_id():
        parser.set_defaults(name=None)
    else:
        parser.add_argument("name", metavar="NAME", help=name_help)


def account_number(text: str) -> int:
    number = whole_number(text)
    if number < 1:
        raise ArgumentTypeError(f"{text!r} is no id of an account")
    return number


async def account_named(store: EventStore, words: Namespace) -> Whom:
    """Raises `CannotDo` where the id is nobody's; a name may be nobody's too, as what is done with it finds."""
    if words.id is None:
        return Whom(store.stream_ids.account(words.name), printable(words.name))
    _refuse_both(words)
    found = await find_account(store, words.id)
    if found is None:
        raise CannotDo(f"there is no account with the id {words.id}")
    return Whom(found.id, printable(found.username or f"account {words.id}"))


def audited_account(connection: psycopg.Connection, words: Namespace) -> UUID:
    """By username, by account id in the log, or by `--id`. Raises `AuditError` for nobody."""
    if words.id is None:
        return account_of(connection, words.name)
    _refuse_both(words)
    found = account_registered_at(connection, words.id)
    if found is None:
        raise AuditError(f"there is no account with the id {words.id}")
    return found


def _refuse_both(words: Namespace) -> None:
    if words.name is not None:
        raise CannotDo(f"an account is given by its name or by {_OPTION}, not by both")


def _is_by_id() -> bool:
    words = sys.argv[1:]
    options = words[: words.index("--")] if "--" in words else words
    return any(word.partition("=")[0] == _OPTION for word in options)
