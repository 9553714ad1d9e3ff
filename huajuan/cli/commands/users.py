"""`users`: acts of the operator on one account, and the accounts that wait for approval."""

import asyncio
from argparse import ArgumentParser, Namespace
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple
from uuid import UUID

from huajuan.cli.accounts import account_named, account_words
from huajuan.cli.arguments import reason_given, whole_number
from huajuan.cli.command import CannotDo, Verb
from huajuan.cli.database import database_there_is, opened_pool, opened_store
from huajuan.cli.output import printable, report_done, result
from huajuan.commands.approve_account import approve_account
from huajuan.commands.ban_account import ban_account
from huajuan.commands.erase_account import reject_account
from huajuan.commands.reset_check_in import reset_check_in
from huajuan.commands.unban_account import unban_account
from huajuan.domain.refusals import AlreadyBanned, NotBanned, NotPending, NotRegistered
from huajuan.event_store.store import EventStore
from huajuan.http.serializers import wire_time
from huajuan.postgres.statements import Statements
from huajuan.projections.queries.read_tables import ReadTables
from huajuan.projections.users import PendingUser, pending_users
from huajuan.settings import Settings
from huajuan.storage.erasures import Erasures

PENDING = "pending"
LIMIT = 100


class Opened(NamedTuple):
    """The event store and the database that an act works with."""

    store: EventStore
    statements: Statements


class Act(NamedTuple):
    """`done` and each of `refused` are lines about `{name}`."""

    help: str
    command: Callable[[Opened, UUID, str], Awaitable[object]]
    done: str
    refused: dict[type[Exception], str]


def _on_store(
    command: Callable[[EventStore, UUID, str], Awaitable[object]],
) -> Callable[[Opened, UUID, str], Awaitable[object]]:
    return lambda opened, account_id, reason: command(opened.store, account_id, reason)


async def _reject(opened: Opened, account_id: UUID, reason: str) -> None:
    await reject_account(opened.store, Erasures(opened.statements), account_id, reason)


_UNKNOWN: dict[type[Exception], str] = {NotRegistered: "there is no account {name}"}
_NOT_PENDING: dict[type[Exception], str] = {**_UNKNOWN, NotPending: "{name} does not wait for approval"}
ACTS = {
    "approve": Act(
        "let an account in that waits for approval",
        _on_store(approve_account),
        "{name} may log in now",
        _NOT_PENDING,
    ),
    "reject": Act(
        "erase an account that waits for approval", _reject, "{name} is rejected and erased", _NOT_PENDING
    ),
    "reset-check-in": Act(
        "let an account check in today, whatever day its last check-in was for",
        _on_store(reset_check_in),
        "{name} may check in again",
        _UNKNOWN,
    ),
    "ban": Act(
        "ban an account, an admin's too: its sessions end, and nobody logs in to it",
        _on_store(ban_account),
        "{name} is banned now",
        {**_UNKNOWN, AlreadyBanned: "{name} is banned already"},
    ),
    "unban": Act(
        "take a ban back",
        _on_store(unban_account),
        "{name} is banned no more",
        {**_UNKNOWN, NotBanned: "{name} is not banned"},
    ),
}


def _words(parser: ArgumentParser) -> None:
    acts = parser.add_subparsers(dest="act_on_user", required=True, metavar="ACT")
    for name, act in ACTS.items():
        under = acts.add_parser(name, help=act.help, description=act.help)
        account_words(under)
        under.add_argument("--reason", required=True, help="goes on record")
    text = "list the accounts that wait for approval: id, time, name, e-mail address"
    under = acts.add_parser(PENDING, help=text, description=text)
    under.add_argument("--limit", type=whole_number, default=LIMIT, metavar="N", help="how many at most")


def _act(settings: Settings, words: Namespace) -> int:
    if words.act_on_user == PENDING:
        return _list_pending(settings, words.limit)
    reason = reason_given(words.reason)
    with database_there_is(settings) as database:
        report_done(asyncio.run(_carry_out(settings, database.dsn, words, reason)))
    return 0


async def _carry_out(settings: Settings, dsn: str, words: Namespace, reason: str) -> str:
    act = ACTS[words.act_on_user]
    async with _opened(settings, dsn) as opened:
        whom = await account_named(opened.store, words)
        try:
            await act.command(opened, whom.account_id, reason)
        except tuple(act.refused) as refusal:
            raise CannotDo(act.refused[type(refusal)].format(name=whom.name)) from None
    return act.done.format(name=whom.name)


@asynccontextmanager
async def _opened(settings: Settings, dsn: str) -> AsyncIterator[Opened]:
    async with opened_pool(settings, dsn) as pool, opened_store(settings, dsn) as store:
        yield Opened(store, Statements(pool, settings.log.reconnect_seconds_max))


def _list_pending(settings: Settings, limit: int) -> int:
    if limit < 1:
        raise CannotDo("--limit must be at least 1")
    with database_there_is(settings) as database:
        for user in asyncio.run(_pending(settings, database.dsn, limit)):
            name, email = printable(user.username), printable(user.email)
            result(f"{user.id}  {wire_time(user.create_time)}  {name}  {email}")
    return 0


async def _pending(settings: Settings, dsn: str, limit: int) -> list[PendingUser]:
    async with opened_pool(settings, dsn) as pool:
        tables = ReadTables(Statements(pool, settings.log.reconnect_seconds_max))
        return await pending_users(tables, limit, 0)


USERS = Verb("users", "approve, reject, ban or unban an account, or let it check in again", _act, _words)
