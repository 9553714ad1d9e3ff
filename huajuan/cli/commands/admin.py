"""`admin`: grants or revokes the admin role."""

import asyncio
from argparse import ArgumentParser, Namespace

from huajuan.cli.accounts import add_account_arguments, resolve_account
from huajuan.cli.arguments import parse_reason
from huajuan.cli.command import CliCommand, CommandError
from huajuan.cli.database import existing_database, open_store
from huajuan.cli.output import print_done
from huajuan.commands.admin_role import grant_admin, revoke_admin
from huajuan.domain.refusals import AlreadyAdmin, NotAdmin, NotRegistered
from huajuan.settings import Settings

DONE = {"grant": "{name} is an admin now", "revoke": "{name} is no admin any more"}
_COMMANDS = {"grant": grant_admin, "revoke": revoke_admin}
_ERRORS = {
    NotRegistered: "there is no account {name}",
    AlreadyAdmin: "{name} is already an admin",
    NotAdmin: "{name} is not an admin",
}


def _add_arguments(parser: ArgumentParser) -> None:
    acts = parser.add_subparsers(dest="act_on_role", required=True, metavar="ACT")
    for act, text in {"grant": "make an account an admin", "revoke": "remove the role"}.items():
        subparser = acts.add_parser(act, help=text, description=text)
        add_account_arguments(subparser)
        subparser.add_argument("--reason", help="recorded in the log")


def _run(settings: Settings, arguments: Namespace) -> int:
    reason = parse_reason(arguments.reason)
    with existing_database(settings) as database:
        name = asyncio.run(_change_role(settings, database.dsn, arguments, reason))
    print_done(DONE[arguments.act_on_role].format(name=name))
    return 0


async def _change_role(settings: Settings, dsn: str, arguments: Namespace, reason: str) -> str:
    async with open_store(settings, dsn) as store:
        account = await resolve_account(store, arguments)
        try:
            await _COMMANDS[arguments.act_on_role](store, account.account_id, reason)
        except tuple(_ERRORS) as error:
            raise CommandError(_ERRORS[type(error)].format(name=account.name)) from None
    return account.name


ADMIN = CliCommand("admin", "grant or revoke the admin role", _run, _add_arguments)
