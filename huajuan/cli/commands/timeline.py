"""`timeline`: everything that happened to one account, newest first, in sentences."""

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from itertools import islice
from uuid import UUID

import psycopg

from huajuan.audit.connection import hold_still
from huajuan.audit.timeline import Happening, count_happenings, happenings
from huajuan.cli.accounts import account_words, audited_account
from huajuan.cli.arguments import positive_number
from huajuan.cli.command import Verb
from huajuan.cli.output import aside, log_of, printable, result, result_as_json
from huajuan.http.timeline_lines import LineOnWire, line_of
from huajuan.settings import Settings

LINES_DEFAULT = 50
PAGE_LINES = 1_000
BEYOND_ALL = 2**63 - 1
_LINE = "{:>10}  {:<27}  {}  {}"


def _words(parser: ArgumentParser) -> None:
    account_words(parser, "a username, or an account id in the log")
    parser.add_argument("--json", action="store_true", help="for machines: one line an event")
    parser.add_argument(
        "--limit",
        type=positive_number,
        metavar="N",
        help=f"how many lines at most: {LINES_DEFAULT} unless told, with --json all of them",
    )
    parser.add_argument(
        "--after",
        type=positive_number,
        default=BEYOND_ALL,
        metavar="POSITION",
        help="go on after the line with this position, with what was before it",
    )


def _act(settings: Settings, words: Namespace) -> int:
    tell = result_as_json if words.json else _tell
    limit = words.limit or (BEYOND_ALL if words.json else LINES_DEFAULT)
    with log_of(settings) as connection:
        hold_still(connection)
        account, last = audited_account(connection, words), words.after
        for happened in islice(_all(connection, account, words.after, limit), limit):
            tell(line_of(happened, settings.public_addresses))
            last = happened.position
        _tell_of_more(count_happenings(connection, account, last), last)
    return 0


def _all(connection: psycopg.Connection, account: UUID, before: int, limit: int) -> Iterator[Happening]:
    while page := happenings(connection, account, before, min(limit, PAGE_LINES)):
        yield from page
        before = page[-1].position


def _tell(line: LineOnWire) -> None:
    result(_LINE.format(line.position, line.time, printable(line.en), printable(line.zh)))


def _tell_of_more(more: int, last: int) -> None:
    if more:
        aside(f"{more:,} older {'line' if more == 1 else 'lines'}: go on with --after {last}")


TIMELINE = Verb("timeline", "tell everything that happened to an account", _act, _words)
