"""`points`: give an account points or take some, with a reason."""

import asyncio
from argparse import ArgumentParser, Namespace

from huajuan.cli.accounts import account_named, account_words
from huajuan.cli.arguments import reason_given, signed_number
from huajuan.cli.command import CannotDo, Verb
from huajuan.cli.database import database_there_is, opened_store
from huajuan.cli.output import report_done
from huajuan.commands.adjust_points import adjust_points
from huajuan.domain.points import ADJUSTMENT_MAX
from huajuan.domain.refusals import BalanceOutOfRange, NotEnoughPoints, NotRegistered, PointsUnfit
from huajuan.settings import Settings

_REFUSED = {
    NotRegistered: "there is no account {name}",
    NotEnoughPoints: "{name} has fewer points than that; --force takes them all the same",
    BalanceOutOfRange: "{name} would have, or owe, more points than an account may",
    PointsUnfit: f"points to give or take are 1 to {ADJUSTMENT_MAX:,}",
}


def _words(parser: ArgumentParser) -> None:
    account_words(parser)
    parser.add_argument(
        "change", type=signed_number, metavar="±N", help="points to give, or to take, with a sign: +50, -20"
    )
    parser.add_argument("--reason", required=True, help="goes on record")
    parser.add_argument("--force", action="store_true", help="take them even if the balance falls below zero")


def _act(settings: Settings, words: Namespace) -> int:
    reason = reason_given(words.reason)
    with database_there_is(settings) as database:
        report_done(asyncio.run(_adjust(settings, database.dsn, words, reason)))
    return 0


async def _adjust(settings: Settings, dsn: str, words: Namespace, reason: str) -> str:
    async with opened_store(settings, dsn) as store:
        whom = await account_named(store, words)
        try:
            decided = await adjust_points(store, whom.account_id, words.change, reason, forced=words.force)
        except tuple(_REFUSED) as refusal:
            raise CannotDo(_REFUSED[type(refusal)].format(name=whom.name)) from None
    return f"{whom.name} has {decided.aggregates[0].balance} points now"


POINTS = Verb("points", "give an account points or take some, with a reason", _act, _words)
