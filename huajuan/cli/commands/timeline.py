"""`timeline`: prints all events of one account, newest first, as sentences."""

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from itertools import islice
from uuid import UUID

import psycopg

from huajuan.audit.connection import begin_snapshot
from huajuan.audit.past import TimelineEvent, count_timeline_events, read_timeline
from huajuan.cli.arguments import add_account_arguments, positive_number
from huajuan.cli.database import find_account_of, open_log
from huajuan.cli.output import log, print_json, print_result, printable
from huajuan.http.event_messages import LineOnWire, line_of
from huajuan.settings import Settings

LINES_DEFAULT = 50
PAGE_LINES = 1_000
AFTER_ALL = 2**63 - 1


def add_timeline_arguments(parser: ArgumentParser) -> None:
    add_account_arguments(parser, "a username, or an account id in the log")
    parser.add_argument("--json", action="store_true", help="print one JSON object per event")
    parser.add_argument(
        "--limit",
        type=positive_number,
        metavar="N",
        help=f"the maximum number of lines: {LINES_DEFAULT} by default, no maximum with --json",
    )
    parser.add_argument(
        "--after",
        type=positive_number,
        default=AFTER_ALL,
        metavar="POSITION",
        help="continue after the line with this position, with older events",
    )


def run_timeline(settings: Settings, arguments: Namespace) -> int:
    print_event = print_json if arguments.json else _print_line
    limit = arguments.limit or (AFTER_ALL if arguments.json else LINES_DEFAULT)
    with open_log(settings) as connection:
        begin_snapshot(connection)
        account, last = find_account_of(connection, arguments), arguments.after
        for event in islice(_all_events(connection, account, last, limit), limit):
            print_event(line_of(event, settings.public_addresses))
            last = event.position
        if count := count_timeline_events(connection, account, last):
            log(f"{count:,} older {'line' if count == 1 else 'lines'}: continue with --after {last}")
    return 0


def _all_events(
    connection: psycopg.Connection, account: UUID, before: int, limit: int
) -> Iterator[TimelineEvent]:
    while page := read_timeline(connection, account, before, min(limit, PAGE_LINES)):
        yield from page
        before = page[-1].position


def _print_line(line: LineOnWire) -> None:
    print_result(f"{line.position:>10}  {line.time:<27}  {printable(line.en)}  {printable(line.zh)}")
