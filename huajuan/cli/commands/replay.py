"""`replay`: explains an account's points from the log alone, or checks the points of all accounts."""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable

import msgspec
import psycopg

from huajuan.audit.connection import AuditError, begin_snapshot, read_log_head
from huajuan.audit.past import position_at
from huajuan.audit.replay import (
    LedgerEntry,
    Replay,
    ReplayOutcome,
    count_points_events,
    is_registered_at,
    replay_all,
)
from huajuan.cli.arguments import ID_HELP, account_number
from huajuan.cli.database import find_account_of, open_log
from huajuan.cli.output import log, print_json, print_result, printable, progress
from huajuan.settings import Settings

_LINE = "{:>10}  {:<27}  {:<16}  {:>7}  {:>8}  {:>6}  {}"
_NAMES = ("position", "time", "what", "change", "balance", "held")


def add_replay_arguments(parser: ArgumentParser) -> None:
    account = parser.add_mutually_exclusive_group(required=True)
    account.add_argument("name", nargs="?", metavar="NAME", help="a username, or an account id in the log")
    account.add_argument("--id", type=account_number, metavar="N", help=ID_HELP)
    account.add_argument("--all", action="store_true", help="compare all accounts with the table of balances")
    parser.add_argument(
        "--as-of", metavar="TIME|POSITION", help="only up to 2026-11-24, 2026-11-24T10:00:00Z, or a position"
    )
    formats = {
        "csv": "print CSV",
        "csv-excel": "print CSV with a byte order mark, for Excel",
        "json": "print JSON",
    }
    group = parser.add_mutually_exclusive_group()
    for name, text in formats.items():
        group.add_argument(f"--{name}", dest="form", action="store_const", const=name, help=text)


def run_replay(settings: Settings, arguments: Namespace) -> int:
    if arguments.all and (arguments.as_of or arguments.form in ("csv", "csv-excel")):
        raise AuditError("replay --all compares with the current tables: it has neither --as-of nor --csv")
    with open_log(settings) as connection:
        begin_snapshot(connection)
        if arguments.all:
            return _replay_all(connection, as_json=arguments.form == "json")
        last = _position(connection, settings, arguments.as_of)
        account = find_account_of(connection, arguments)
        if last is not None and not is_registered_at(connection, account, last):
            raise AuditError(f"{arguments.name or arguments.id!r} was not registered yet at position {last}")
        replay = Replay(connection, account, last)
        _PRINTERS[arguments.form](replay)
        return 0 if replay.outcome().is_sound else 1


def _position(connection: psycopg.Connection, settings: Settings, text: str | None) -> int | None:
    if text is None:
        return None
    if text.isascii() and text.isdigit():
        return _existing_position(connection, text.lstrip("0") or "0")
    from huajuan.http.request import InvalidTime, end_of

    try:
        moment = end_of(text, settings.zone)
    except InvalidTime:
        raise AuditError(
            f"--as-of {text!r} is not a position, a date, or a time with Z or an offset"
        ) from None
    position = position_at(connection, moment)
    log(f"as of {moment.isoformat()}: position {position}")
    return position


def _existing_position(connection: psycopg.Connection, digits: str) -> int:
    """Compares the number of digits first, because `int` rejects very long numbers."""
    head, _ = read_log_head(connection)
    if len(digits) > len(str(head)) or int(digits) > head:
        raise AuditError(f"the log ends at position {head}")
    return int(digits)


def _replay_all(connection: psycopg.Connection, *, as_json: bool) -> int:
    with progress("replay", count_points_events(connection)) as on_progress:
        outcome = replay_all(connection, on_progress)
    wrong = outcome.disagreement
    if as_json:
        print_json({"agrees": wrong is None, **outcome._asdict()})
    elif wrong:
        print_result(f"DISAGREES: account {wrong.account_id} at position {wrong.position}: {wrong.says}")
    else:
        print_result(
            f"table agrees for every account, {outcome.accounts:,} in all (at position {outcome.position})"
        )
    return 1 if wrong else 0


def _print_table(replay: Replay) -> None:
    print_result(_LINE.format(*_NAMES, "because of"))
    for entry in replay.entries():
        cells = map(printable, entry[: len(_NAMES)])
        print_result(_LINE.format(*cells, printable(_cause(entry))).rstrip())
    _print_summary(replay.outcome(), print_result)


def _cause(entry: LedgerEntry) -> str:
    parts = (
        entry.reason,
        entry.image_id and f"image {entry.image_id}",
        entry.actor and f"by {entry.actor}",
        entry.correlation_id and f"request {entry.correlation_id}",
    )
    return ", ".join(part for part in parts if part)


def _print_csv_for_excel(replay: Replay) -> None:
    """With the byte order mark by which Excel detects UTF-8."""
    sys.stdout.write("\ufeff")
    _print_csv(replay)


def _print_csv(replay: Replay) -> None:
    """The summary goes to standard error."""
    from huajuan.http.content_negotiation import csv_line

    sys.stdout.write(csv_line(LedgerEntry._fields))
    for entry in replay.entries():
        sys.stdout.write(csv_line(entry))
    _print_summary(replay.outcome(), log)


def _print_json(replay: Replay) -> None:
    """Streams the entries, which may not fit into memory."""
    sys.stdout.write('{"entries":[')
    for number, entry in enumerate(replay.entries()):
        sys.stdout.write(("," if number else "") + msgspec.json.encode(entry._asdict()).decode())
    print_result(f'],"outcome":{msgspec.json.encode(replay.outcome()._asdict()).decode()}}}')


def _print_summary(outcome: ReplayOutcome, print_line: Callable[[str], None]) -> None:
    pots = outcome.pots
    rest = " + ".join(f"{pots[name]} {name}" for name in pots if name != "granted")
    print_line(f"account {outcome.account_id} as of position {outcome.position}")
    print_line(f"{pots['granted']} granted {'≠' if outcome.unconserved else '='} {rest}")
    print_line(outcome.says)


_PRINTERS: dict[str | None, Callable[[Replay], None]] = {
    None: _print_table,
    "csv": _print_csv,
    "csv-excel": _print_csv_for_excel,
    "json": _print_json,
}
