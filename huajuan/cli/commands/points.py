"""`points`: adds points to an account or deducts them, with a reason."""

import asyncio
from argparse import ArgumentParser, Namespace

from huajuan.cli.accounts import add_account_arguments, resolve_account
from huajuan.cli.arguments import parse_reason, signed_number
from huajuan.cli.command import CliCommand, CommandError
from huajuan.cli.database import existing_database, open_store
from huajuan.cli.output import print_done
from huajuan.commands.moderation import adjust_points
from huajuan.domain.refusals import BalanceOutOfRange, NotEnoughPoints, NotRegistered, PointsInvalid
from huajuan.domain.rules import ADJUSTMENT_MAX
from huajuan.settings import Settings

_ERRORS = {
    NotRegistered: "there is no account {name}",
    NotEnoughPoints: "{name} has fewer points than that; --force deducts them anyway",
    BalanceOutOfRange: "the balance of {name} would be outside the allowed range",
    PointsInvalid: f"the number of points must be 1 to {ADJUSTMENT_MAX:,}",
}


def _add_arguments(parser: ArgumentParser) -> None:
    add_account_arguments(parser)
    parser.add_argument(
        "change", type=signed_number, metavar="±N", help="points to add or to deduct, with a sign: +50, -20"
    )
    parser.add_argument("--reason", required=True, help="recorded in the log")
    parser.add_argument(
        "--force", action="store_true", help="deduct the points even if the balance falls below zero"
    )


def _run(settings: Settings, arguments: Namespace) -> int:
    reason = parse_reason(arguments.reason)
    with existing_database(settings) as database:
        print_done(asyncio.run(_adjust(settings, database.dsn, arguments, reason)))
    return 0


async def _adjust(settings: Settings, dsn: str, arguments: Namespace, reason: str) -> str:
    async with open_store(settings, dsn) as store:
        account = await resolve_account(store, arguments)
        change, forced = arguments.change, arguments.force
        try:
            decided = await adjust_points(store, account.account_id, change, reason, forced=forced)
        except tuple(_ERRORS) as error:
            raise CommandError(_ERRORS[type(error)].format(name=account.name)) from None
    return f"{account.name} has {decided.aggregates[0].balance} points now"


POINTS = CliCommand("points", "add points to an account, or deduct them, with a reason", _run, _add_arguments)
