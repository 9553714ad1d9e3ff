"""`admin`: who has the admin role."""

import asyncio
from argparse import ArgumentParser, Namespace

from huajuan.cli.accounts import account_named, account_words
from huajuan.cli.arguments import reason_given
from huajuan.cli.command import CannotDo, Verb
from huajuan.cli.database import database_there_is, opened_store
from huajuan.cli.output import report_done
from huajuan.commands.grant_admin import grant_admin
from huajuan.commands.revoke_admin import revoke_admin
from huajuan.domain.refusals import AlreadyAdmin, NotAdmin, NotRegistered
from huajuan.settings import Settings

DONE = {"grant": "{name} is an admin now", "revoke": "{name} is no admin any more"}
_COMMANDS = {"grant": grant_admin, "revoke": revoke_admin}
_REFUSED = {
    NotRegistered: "there is no account {name}",
    AlreadyAdmin: "{name} is an admin already",
    NotAdmin: "{name} is no admin",
}


def _words(parser: ArgumentParser) -> None:
    acts = parser.add_subparsers(dest="act_on_role", required=True, metavar="ACT")
    for act, text in {"grant": "make somebody an admin", "revoke": "take the role away"}.items():
        under = acts.add_parser(act, help=text, description=text)
        account_words(under)
        under.add_argument("--reason", help="goes on record")


def _act(settings: Settings, words: Namespace) -> int:
    reason = reason_given(words.reason)
    with database_there_is(settings) as database:
        name = asyncio.run(_change(settings, database.dsn, words, reason))
    report_done(DONE[words.act_on_role].format(name=name))
    return 0


async def _change(settings: Settings, dsn: str, words: Namespace, reason: str) -> str:
    async with opened_store(settings, dsn) as store:
        whom = await account_named(store, words)
        try:
            await _COMMANDS[words.act_on_role](store, whom.account_id, reason)
        except tuple(_REFUSED) as refusal:
            raise CannotDo(_REFUSED[type(refusal)].format(name=whom.name)) from None
    return whom.name


ADMIN = Verb("admin", "grant or revoke the admin role", _act, _words)
