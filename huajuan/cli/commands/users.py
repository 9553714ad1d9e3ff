"""`users`: approves, rejects, bans or unbans an account, resets its check-in, and lists pending accounts."""

import asyncio
from argparse import ArgumentParser, Namespace
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple
from uuid import UUID

from huajuan.cli.accounts import add_account_arguments, resolve_account
from huajuan.cli.arguments import parse_reason, whole_number
from huajuan.cli.command import CliCommand, CommandError
from huajuan.cli.database import connect_pool, existing_database, open_store
from huajuan.cli.output import print_done, print_result, printable
from huajuan.commands.erase_account import reject_account
from huajuan.commands.moderation import approve_account, ban_account, reset_check_in, unban_account
from huajuan.domain.refusals import AlreadyBanned, NotBanned, NotPending, NotRegistered
from huajuan.event_store.store import EventStore
from huajuan.http.serializers import wire_time
from huajuan.postgres.statements import Statements
from huajuan.projections.engine.table import ReadTables
from huajuan.projections.queries.accounts import PendingUser, list_pending_users
from huajuan.settings import Settings
from huajuan.storage.deletions import Erasures

PENDING = "pending"
LIMIT = 100


class OpenedDatabase(NamedTuple):
    """The event store and the database connections for one act."""

    store: EventStore
    statements: Statements


class UserAct(NamedTuple):
    """An act on one account. `done` and the values of `errors` are messages with `{name}`."""

    help: str
    command: Callable[[OpenedDatabase, UUID, str], Awaitable[object]]
    done: str
    errors: dict[type[Exception], str]


def _on_store(
    command: Callable[[EventStore, UUID, str], Awaitable[object]],
) -> Callable[[OpenedDatabase, UUID, str], Awaitable[object]]:
    return lambda opened, account_id, reason: command(opened.store, account_id, reason)


async def _reject(opened: OpenedDatabase, account_id: UUID, reason: str) -> None:
    await reject_account(opened.store, Erasures(opened.statements), account_id, reason)


_UNKNOWN: dict[type[Exception], str] = {NotRegistered: "there is no account {name}"}
_NOT_PENDING: dict[type[Exception], str] = {**_UNKNOWN, NotPending: "{name} does not wait for approval"}
ACTS = {
    "approve": UserAct(
        "approve an account that waits for approval",
        _on_store(approve_account),
        "{name} may log in now",
        _NOT_PENDING,
    ),
    "reject": UserAct(
        "erase an account that waits for approval", _reject, "{name} is rejected and erased", _NOT_PENDING
    ),
    "reset-check-in": UserAct(
        "let an account check in again today",
        _on_store(reset_check_in),
        "{name} may check in again",
        _UNKNOWN,
    ),
    "ban": UserAct(
        "ban an account, also an admin's: its sessions end, and log-ins are rejected",
        _on_store(ban_account),
        "{name} is banned now",
        {**_UNKNOWN, AlreadyBanned: "{name} is already banned"},
    ),
    "unban": UserAct(
        "lift a ban",
        _on_store(unban_account),
        "{name} is banned no more",
        {**_UNKNOWN, NotBanned: "{name} is not banned"},
    ),
}


def _add_arguments(parser: ArgumentParser) -> None:
    acts = parser.add_subparsers(dest="act_on_user", required=True, metavar="ACT")
    for name, act in ACTS.items():
        subparser = acts.add_parser(name, help=act.help, description=act.help)
        add_account_arguments(subparser)
        subparser.add_argument("--reason", required=True, help="recorded in the log")
    text = "list the accounts that wait for approval: id, time, name, e-mail address"
    subparser = acts.add_parser(PENDING, help=text, description=text)
    subparser.add_argument(
        "--limit", type=whole_number, default=LIMIT, metavar="N", help="the maximum number of accounts"
    )


def _run(settings: Settings, arguments: Namespace) -> int:
    if arguments.act_on_user == PENDING:
        return _list_pending(settings, arguments.limit)
    reason = parse_reason(arguments.reason)
    with existing_database(settings) as database:
        print_done(asyncio.run(_act(settings, database.dsn, arguments, reason)))
    return 0


async def _act(settings: Settings, dsn: str, arguments: Namespace, reason: str) -> str:
    act = ACTS[arguments.act_on_user]
    async with _open(settings, dsn) as opened:
        account = await resolve_account(opened.store, arguments)
        try:
            await act.command(opened, account.account_id, reason)
        except tuple(act.errors) as error:
            raise CommandError(act.errors[type(error)].format(name=account.name)) from None
    return act.done.format(name=account.name)


@asynccontextmanager
async def _open(settings: Settings, dsn: str) -> AsyncIterator[OpenedDatabase]:
    async with connect_pool(settings, dsn) as pool, open_store(settings, dsn) as store:
        yield OpenedDatabase(store, Statements(pool, settings.log_reconnect_seconds_max))


def _list_pending(settings: Settings, limit: int) -> int:
    if limit < 1:
        raise CommandError("--limit must be at least 1")
    with existing_database(settings) as database:
        for user in asyncio.run(_pending(settings, database.dsn, limit)):
            name, email = printable(user.username), printable(user.email)
            print_result(f"{user.id}  {wire_time(user.create_time)}  {name}  {email}")
    return 0


async def _pending(settings: Settings, dsn: str, limit: int) -> list[PendingUser]:
    async with connect_pool(settings, dsn) as pool:
        tables = ReadTables(Statements(pool, settings.log_reconnect_seconds_max))
        return await list_pending_users(tables, limit, 0)


USERS = CliCommand(
    "users", "approve, reject, ban or unban an account, or reset its check-in", _run, _add_arguments
)
