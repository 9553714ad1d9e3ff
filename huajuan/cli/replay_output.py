"""Writes a replay line by line: as a table for people, as CSV, or as one JSON object."""

import sys
from collections.abc import Callable

import msgspec

from huajuan.audit.replay import Entry, Outcome, Replay
from huajuan.cli.output import aside, printable, result
from huajuan.http.csv_safe import csv_line

_LINE = "{:>10}  {:<27}  {:<16}  {:>7}  {:>8}  {:>6}  {}"
_NAMES = ("position", "time", "what", "change", "balance", "held")


def write_as(form: str | None, replay: Replay) -> int:
    """The exit status: 0 unless the table or the log disagrees."""
    outcome = _FORMS[form](replay)
    return 0 if outcome.is_sound else 1


def _as_table(replay: Replay) -> Outcome:
    result(_LINE.format(*_NAMES, "because of"))
    for entry in replay.entries():
        result(_LINE.format(*map(printable, entry[: len(_NAMES)]), printable(_cause(entry))).rstrip())
    outcome = replay.outcome()
    _sum_up(outcome, result)
    return outcome


def _cause(entry: Entry) -> str:
    parts = (
        entry.reason,
        entry.image_id and f"image {entry.image_id}",
        entry.actor and f"by {entry.actor}",
        entry.correlation_id and f"request {entry.correlation_id}",
    )
    return ", ".join(part for part in parts if part)


def _as_csv_for_excel(replay: Replay) -> Outcome:
    """Without the mark it does not read UTF-8."""
    sys.stdout.write("\ufeff")
    return _as_csv(replay)


def _as_csv(replay: Replay) -> Outcome:
    """The verdict stands apart, on standard error."""
    sys.stdout.write(csv_line(Entry._fields))
    for entry in replay.entries():
        sys.stdout.write(csv_line(entry))
    outcome = replay.outcome()
    _sum_up(outcome, aside)
    return outcome


def _as_json(replay: Replay) -> Outcome:
    """Written as it comes: there may be more entries than memory."""
    sys.stdout.write('{"entries":[')
    for number, entry in enumerate(replay.entries()):
        sys.stdout.write(("," if number else "") + msgspec.json.encode(entry._asdict()).decode())
    outcome = replay.outcome()
    result(f'],"outcome":{msgspec.json.encode(outcome._asdict()).decode()}}}')
    return outcome


def _sum_up(outcome: Outcome, say: Callable[[str], None]) -> None:
    pots = outcome.pots
    rest = " + ".join(f"{pots[name]} {name}" for name in pots if name != "granted")
    say(f"account {outcome.account_id} as of position {outcome.position}")
    say(f"{pots['granted']} granted {'≠' if outcome.unconserved else '='} {rest}")
    say(outcome.says)


_FORMS: dict[str | None, Callable[[Replay], Outcome]] = {
    None: _as_table,
    "csv": _as_csv,
    "csv-excel": _as_csv_for_excel,
    "json": _as_json,
}
