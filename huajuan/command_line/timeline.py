"""`timeline`: everything that happened to one account, newest first, in sentences."""

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from uuid import UUID

import psycopg

from huajuan.audit.connecting import hold_still
from huajuan.audit.timeline import Happening, happenings
from huajuan.command_line.accounts import account_words, audited_account
from huajuan.command_line.saying import log_of, printable, result, result_as_json
from huajuan.command_line.verb import Verb
from huajuan.http.happenings import LineOnWire, line_of
from huajuan.settings import Settings

PAGE_LINES = 1_000
BEYOND_ALL = 2**63 - 1
_LINE = "{:>10}  {:<27}  {}  {}"


def _words(parser: ArgumentParser) -> None:
    account_words(parser, "a username, or an account id in the log")
    parser.add_argument("--json", action="store_true", help="for machines: one line an event")


def _act(settings: Settings, words: Namespace) -> int:
    tell = result_as_json if words.json else _tell
    with log_of(settings) as connection:
        hold_still(connection)
        for happened in _all(connection, audited_account(connection, words)):
            tell(line_of(happened, settings.public_addresses))
    return 0


def _all(connection: psycopg.Connection, account: UUID) -> Iterator[Happening]:
    before = BEYOND_ALL
    while page := happenings(connection, account, before, PAGE_LINES):
        yield from page
        before = page[-1].position


def _tell(line: LineOnWire) -> None:
    result(_LINE.format(line.position, line.time, printable(line.en), printable(line.zh)))


TIMELINE = Verb("timeline", "tell everything that happened to an account", _act, _words)
