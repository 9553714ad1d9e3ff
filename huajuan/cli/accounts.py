"""The account argument of a command: a username, or the account's id with `--id`."""

import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from typing import NamedTuple
from uuid import UUID

import psycopg

from huajuan.audit.connection import AuditError
from huajuan.audit.replay import account_by_registration, find_account
from huajuan.cli.arguments import whole_number
from huajuan.cli.command import CommandError
from huajuan.cli.output import printable
from huajuan.event_store.store import EventStore, account_registered_at

_OPTION = "--id"
ID_HELP = "the account's id instead, as in the lists of users"


class ResolvedAccount(NamedTuple):
    """`name` is what messages call the account."""

    account_id: UUID
    name: str


def add_account_arguments(parser: ArgumentParser, name_help: str = "the account's username") -> None:
    """Adds NAME and `--id N`. NAME is not required with `--id`, which the parser cannot express."""
    parser.add_argument(_OPTION, type=account_number, metavar="N", help=ID_HELP)
    if _has_id_option():
        parser.set_defaults(name=None)
    else:
        parser.add_argument("name", metavar="NAME", help=name_help)


def account_number(text: str) -> int:
    number = whole_number(text)
    if number < 1:
        raise ArgumentTypeError(f"{text!r} is not an id of an account")
    return number


async def resolve_account(store: EventStore, arguments: Namespace) -> ResolvedAccount:
    """Raises `CommandError` for an unknown id. An unknown name is found by the command that follows."""
    if arguments.id is None:
        return ResolvedAccount(store.stream_ids.account(arguments.name), printable(arguments.name))
    _reject_both(arguments)
    found = await account_registered_at(store, arguments.id)
    if found is None:
        raise CommandError(f"there is no account with the id {arguments.id}")
    return ResolvedAccount(found.id, printable(found.username or f"account {arguments.id}"))


def resolve_audited_account(connection: psycopg.Connection, arguments: Namespace) -> UUID:
    """By username, by account id in the log, or by `--id`. Raises `AuditError` if there is none."""
    if arguments.id is None:
        return find_account(connection, arguments.name)
    _reject_both(arguments)
    found = account_by_registration(connection, arguments.id)
    if found is None:
        raise AuditError(f"there is no account with the id {arguments.id}")
    return found


def _reject_both(arguments: Namespace) -> None:
    if arguments.name is not None:
        raise CommandError(f"give the account's name or {_OPTION}, not both")


def _has_id_option() -> bool:
    arguments = sys.argv[1:]
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return any(option.partition("=")[0] == _OPTION for option in options)
