"""`replay`: explains an account's points from the log alone, or checks the points of all accounts."""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable

import msgspec
import psycopg

from huajuan.audit.as_of import position_at
from huajuan.audit.connection import AuditError, begin_snapshot, read_log_head
from huajuan.audit.replay import LedgerEntry, Replay, ReplayOutcome, is_registered_at
from huajuan.audit.replay_all import count_points_events, replay_all
from huajuan.cli.accounts import ID_HELP, account_number, resolve_audited_account
from huajuan.cli.command import CliCommand
from huajuan.cli.database import open_log
from huajuan.cli.output import log, print_json, print_result, printable
from huajuan.cli.progress import progress
from huajuan.http.content_negotiation import csv_line
from huajuan.http.query_params import InvalidTime, end_of
from huajuan.settings import Settings

_LINE = "{:>10}  {:<27}  {:<16}  {:>7}  {:>8}  {:>6}  {}"
_NAMES = ("position", "time", "what", "change", "balance", "held")


def _add_arguments(parser: ArgumentParser) -> None:
    account = parser.add_mutually_exclusive_group(required=True)
    account.add_argument("name", nargs="?", metavar="NAME", help="a username, or an account id in the log")
    account.add_argument("--id", type=account_number, metavar="N", help=ID_HELP)
    account.add_argument("--all", action="store_true", help="compare all accounts with the table of balances")
    parser.add_argument(
        "--as-of", metavar="TIME|POSITION", help="only up to 2026-11-24, 2026-11-24T10:00:00Z, or a position"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--csv", dest="form", action="store_const", const="csv", help="print CSV")
    form.add_argument(
        "--csv-excel",
        dest="form",
        action="store_const",
        const="csv-excel",
        help="print CSV with a byte order mark, for Excel",
    )
    form.add_argument("--json", dest="form", action="store_const", const="json", help="print JSON")


def _run(settings: Settings, arguments: Namespace) -> int:
    if arguments.all and (arguments.as_of or arguments.form in ("csv", "csv-excel")):
        raise AuditError("replay --all compares with the current tables: it has neither --as-of nor --csv")
    with open_log(settings) as connection:
        begin_snapshot(connection)
        if arguments.all:
            return _replay_all(connection, as_json=arguments.form == "json")
        last = _position(connection, settings, arguments.as_of)
        account = resolve_audited_account(connection, arguments)
        if last is not None and not is_registered_at(connection, account, last):
            raise AuditError(f"{arguments.name or arguments.id!r} was not registered yet at position {last}")
        outcome = _PRINTERS[arguments.form](Replay(connection, account, last))
        return 0 if outcome.is_sound else 1


def _position(connection: psycopg.Connection, settings: Settings, text: str | None) -> int | None:
    if text is None:
        return None
    if text.isascii() and text.isdigit():
        return _existing_position(connection, text.lstrip("0") or "0")
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


def _print_table(replay: Replay) -> ReplayOutcome:
    print_result(_LINE.format(*_NAMES, "because of"))
    for entry in replay.entries():
        cells = map(printable, entry[: len(_NAMES)])
        print_result(_LINE.format(*cells, printable(_cause(entry))).rstrip())
    outcome = replay.outcome()
    _print_summary(outcome, print_result)
    return outcome


def _cause(entry: LedgerEntry) -> str:
    parts = (
        entry.reason,
        entry.image_id and f"image {entry.image_id}",
        entry.actor and f"by {entry.actor}",
        entry.correlation_id and f"request {entry.correlation_id}",
    )
    return ", ".join(part for part in parts if part)


def _print_csv_for_excel(replay: Replay) -> ReplayOutcome:
    """With the byte order mark by which Excel detects UTF-8."""
    sys.stdout.write("\ufeff")
    return _print_csv(replay)


def _print_csv(replay: Replay) -> ReplayOutcome:
    """The summary goes to standard error."""
    sys.stdout.write(csv_line(LedgerEntry._fields))
    for entry in replay.entries():
        sys.stdout.write(csv_line(entry))
    outcome = replay.outcome()
    _print_summary(outcome, log)
    return outcome


def _print_json(replay: Replay) -> ReplayOutcome:
    """Streams the entries, which may not fit into memory."""
    sys.stdout.write('{"entries":[')
    for number, entry in enumerate(replay.entries()):
        sys.stdout.write(("," if number else "") + msgspec.json.encode(entry._asdict()).decode())
    outcome = replay.outcome()
    print_result(f'],"outcome":{msgspec.json.encode(outcome._asdict()).decode()}}}')
    return outcome


def _print_summary(outcome: ReplayOutcome, print_line: Callable[[str], None]) -> None:
    pots = outcome.pots
    rest = " + ".join(f"{pots[name]} {name}" for name in pots if name != "granted")
    print_line(f"account {outcome.account_id} as of position {outcome.position}")
    print_line(f"{pots['granted']} granted {'≠' if outcome.unconserved else '='} {rest}")
    print_line(outcome.says)


_PRINTERS: dict[str | None, Callable[[Replay], ReplayOutcome]] = {
    None: _print_table,
    "csv": _print_csv,
    "csv-excel": _print_csv_for_excel,
    "json": _print_json,
}
REPLAY = CliCommand(
    "replay", "explain an account's points from the log alone, or check all accounts", _run, _add_arguments
)
