"""`replay`: why an account has the points it has, from the log alone; or whether every account has them rightly."""

from argparse import ArgumentParser, Namespace

import psycopg

from huajuan.audit.connection import hold_still, newest
from huajuan.audit.errors import AuditError
from huajuan.audit.replay import Replay, is_registered_by
from huajuan.audit.replay_all import events_to_replay, replay_all
from huajuan.audit.time_to_position import position_at
from huajuan.cli.accounts import ID_HELP, account_number, audited_account
from huajuan.cli.command import Verb
from huajuan.cli.output import aside, log_of, result, result_as_json
from huajuan.cli.progress import progress
from huajuan.cli.replay_output import write_as
from huajuan.http.times import BadTime, end_of
from huajuan.settings import Settings


def _words(parser: ArgumentParser) -> None:
    whom = parser.add_mutually_exclusive_group(required=True)
    whom.add_argument("name", nargs="?", metavar="NAME", help="a username, or an account id in the log")
    whom.add_argument("--id", type=account_number, metavar="N", help=ID_HELP)
    whom.add_argument("--all", action="store_true", help="every account, against the table of balances")
    parser.add_argument(
        "--as-of", metavar="TIME|POSITION", help="only up to 2026-11-24, 2026-11-24T10:00:00Z, or a position"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--csv", dest="form", action="store_const", const="csv", help="for spreadsheets")
    form.add_argument(
        "--csv-excel",
        dest="form",
        action="store_const",
        const="csv-excel",
        help="the same with a byte order mark, for Excel",
    )
    form.add_argument("--json", dest="form", action="store_const", const="json", help="for machines")


def _act(settings: Settings, words: Namespace) -> int:
    if words.all and (words.as_of or words.form in ("csv", "csv-excel")):
        raise AuditError(
            "replay --all compares with the tables as they are: it takes neither --as-of nor --csv"
        )
    with log_of(settings) as connection:
        hold_still(connection)
        if words.all:
            return _replay_all(connection, as_json=words.form == "json")
        last, account = _position(connection, settings, words.as_of), audited_account(connection, words)
        if last is not None and not is_registered_by(connection, account, last):
            raise AuditError(f"{words.name or words.id!r} was not registered yet at position {last}")
        return write_as(words.form, Replay(connection, account, last))


def _position(connection: psycopg.Connection, settings: Settings, text: str | None) -> int | None:
    if text is None:
        return None
    if text.isascii() and text.isdigit():
        return _known_position(connection, text.lstrip("0") or "0")
    try:
        moment = end_of(text, settings.zone)
    except BadTime:
        raise AuditError(
            f"--as-of {text!r} is no position, no date and no moment with an offset or Z"
        ) from None
    position = position_at(connection, moment)
    aside(f"as of {moment.isoformat()}: position {position}")
    return position


def _known_position(connection: psycopg.Connection, digits: str) -> int:
    """There may be more digits than can be read as a number at all."""
    there, _ = newest(connection)
    if len(digits) > len(str(there)) or int(digits) > there:
        raise AuditError(f"the log ends at position {there}")
    return int(digits)


def _replay_all(connection: psycopg.Connection, *, as_json: bool) -> int:
    with progress("replay", events_to_replay(connection)) as told:
        audited = replay_all(connection, told)
    wrong = audited.disagreement
    if as_json:
        result_as_json({"agrees": wrong is None, **audited._asdict()})
    elif wrong:
        result(f"DISAGREES: account {wrong.account_id} at position {wrong.position}: {wrong.says}")
    else:
        result(
            f"table agrees for every account, {audited.accounts:,} in all (at position {audited.position})"
        )
    return 1 if wrong else 0


REPLAY = Verb("replay", "explain an account's points from the log alone, or check everybody's", _act, _words)
