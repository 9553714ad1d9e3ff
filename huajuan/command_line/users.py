"""`users`: what an operator does to an account."""

import asyncio
from argparse import ArgumentParser, Namespace
from collections.abc import Awaitable, Callable
from typing import NamedTuple
from uuid import UUID

from huajuan.command_line.accounts import account_named, account_words
from huajuan.command_line.opening import database_there_is, opened_store
from huajuan.command_line.saying import report_done
from huajuan.command_line.verb import CannotDo, Verb
from huajuan.command_line.words import reason_given
from huajuan.commands.ban_account import ban_account
from huajuan.commands.reset_check_in import reset_check_in
from huajuan.commands.unban_account import unban_account
from huajuan.domain.refusals import AlreadyBanned, NotBanned, NotRegistered
from huajuan.event_store.store import EventStore
from huajuan.settings import Settings


class Act(NamedTuple):
    """`done` and each of `refused` are lines about `{name}`."""

    help: str
    command: Callable[[EventStore, UUID, str], Awaitable[object]]
    done: str
    refused: dict[type[Exception], str]


_UNKNOWN: dict[type[Exception], str] = {NotRegistered: "there is no account {name}"}
ACTS = {
    "reset-check-in": Act(
        "let an account check in today, whatever day its last check-in was for",
        reset_check_in,
        "{name} may check in again",
        _UNKNOWN,
    ),
    "ban": Act(
        "ban somebody, an admin too: their sessions end, and nobody logs in to the account",
        ban_account,
        "{name} is banned now",
        {**_UNKNOWN, AlreadyBanned: "{name} is banned already"},
    ),
    "unban": Act(
        "take a ban back",
        unban_account,
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


def _act(settings: Settings, words: Namespace) -> int:
    reason = reason_given(words.reason)
    with database_there_is(settings) as database:
        report_done(asyncio.run(_carry_out(settings, database.dsn, words, reason)))
    return 0


async def _carry_out(settings: Settings, dsn: str, words: Namespace, reason: str) -> str:
    act = ACTS[words.act_on_user]
    async with opened_store(settings, dsn) as store:
        whom = await account_named(store, words)
        try:
            await act.command(store, whom.account_id, reason)
        except tuple(act.refused) as refusal:
            raise CannotDo(act.refused[type(refusal)].format(name=whom.name)) from None
    return act.done.format(name=whom.name)


USERS = Verb("users", "act on one account: ban it, take a ban back, let it check in again", _act, _words)
