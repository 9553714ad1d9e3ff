"""Rates of `verify` and `replay --all` as shares of a COPY of the same rows: `python -m benchmarks.audit`."""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import psycopg

from benchmarks.ground import Ground
from benchmarks.made_log import make_log
from benchmarks.measuring import Spread, peak_megabytes
from benchmarks.table import Goal, Row
from huajuan.audit.connection import begin_snapshot, open_read_only, read_log_head, stream_ids
from huajuan.audit.exports import ExportHeader, export_chunks
from huajuan.audit.hash_chain import log_pages
from huajuan.audit.replay import replay_all
from huajuan.audit.verify import VerificationTarget, verify
from huajuan.embedded_postgres import EmbeddedPostgres
from huajuan.event_store.schema import create_schema
from huajuan.server.database import create_tables
from tests.database import Databases, passable_folder

# On a disk, even if the temporary folder is in memory.
DISK = Path("/var/tmp")
COLUMNS = "notification_id, originator_id, originator_version, topic, state, chain"
COPY = f"COPY (SELECT {COLUMNS} FROM log.huajuan_events ORDER BY notification_id) TO STDOUT (FORMAT BINARY)"
COPY_ACCOUNTS = (
    f"COPY (SELECT {COLUMNS} FROM log.huajuan_events WHERE topic LIKE 'account.%' "
    "ORDER BY originator_id, originator_version) TO STDOUT (FORMAT BINARY)"
)
Task = Callable[[str], None]
GOAL = Goal(least=0.25)


def copy_out(dsn: str) -> None:
    """Copies all rows in order, and discards them."""
    _copy(dsn, COPY)


def copy_accounts_out(dsn: str) -> None:
    """Copies the rows that a replay reads, in its order."""
    _copy(dsn, COPY_ACCOUNTS)


def _copy(dsn: str, statement: str) -> None:
    with psycopg.connect(dsn) as connection, connection.cursor().copy(statement.encode()) as copy:
        for _ in copy:
            pass


def verify_all(dsn: str) -> None:
    with open_read_only(dsn) as connection:
        claim = VerificationTarget(str(stream_ids(connection).installation()))
        assert verify(log_pages(connection, read_log_head(connection)[0]), claim, {}).whole


def replay_everybody(dsn: str) -> None:
    with open_read_only(dsn) as connection:
        begin_snapshot(connection)
        assert replay_all(connection).disagreement is None


def export_all(dsn: str) -> None:
    with open_read_only(dsn) as connection, open(os.devnull, "wb") as nowhere:
        nowhere.writelines(
            lines
            for _, lines in export_chunks(
                connection,
                ExportHeader(installation="", first=1, last=read_log_head(connection)[0], chain=""),
            )
        )


TASKS: dict[str, Task] = {
    "COPY-out": copy_out,
    "COPY-out, accounts": copy_accounts_out,
    "verify": verify_all,
    "replay --all": replay_everybody,
    "export": export_all,
}


def main() -> None:
    options = _options()
    if options.alone:
        _alone(*options.alone)
        return
    with _server() as databases:
        for events in options.events:
            dsn = _prepared(databases, events)
            _report(dsn, options.rounds)


def rows(ground: Ground) -> Iterator[Row]:
    """Events per second, against a COPY of the same rows."""
    dsn, events, names = ground.made_log(), ground.options.events, ("verify", "replay --all")
    copied, copied_accounts, *others = ground.rounds(
        "audit", [partial(_rate, dsn, events, name) for name in ("COPY-out", "COPY-out, accounts", *names)]
    )
    against = {
        "verify": ("COPY-out", copied),
        "replay --all": ("COPY-out of accounts' events", copied_accounts),
    }
    for name, ours in zip(names, others, strict=True):
        yield Row.of(f"{name}, {events:,} events", against[name][0], ours, against[name][1], "/s", GOAL)


def _rate(dsn: str, events: int, name: str) -> float:
    began = time.perf_counter()
    TASKS[name](dsn)
    return events / (time.perf_counter() - began)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, nargs="+", default=[200_000])
    parser.add_argument("--rounds", type=int, default=7, help="each runs every task once")
    parser.add_argument("--alone", nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args()


@contextmanager
def _server() -> Iterator[Databases]:
    with (
        passable_folder(DISK if DISK.is_dir() else None) as folder,
        EmbeddedPostgres(folder, durable=True, die_with_parent=True) as server,
        closing(Databases(server.dsn())) as databases,
    ):
        yield databases


def _prepared(databases: Databases, events: int) -> str:
    dsn = databases.dsn(databases.create())
    create_schema(dsn)
    make_log(dsn, events)
    create_tables(dsn)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
        rows = connection.execute(
            "SELECT count(*), count(*) FILTER (WHERE topic LIKE 'account.%'), "
            "round(avg(octet_length(state))), "
            "pg_size_pretty(pg_table_size('log.huajuan_events')) FROM log.huajuan_events"
        ).fetchone()
    assert rows
    print(f"{rows[0]:,} events ({rows[1]:,} of accounts), {rows[2]} bytes a state, {rows[3]}")
    return dsn


def _report(dsn: str, rounds: int) -> None:
    """Rounds are interleaved, and each begins with another task."""
    seconds: dict[str, list[float]] = {name: [] for name in TASKS}
    names = list(TASKS)
    for number in range(rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            began = time.perf_counter()
            TASKS[name](dsn)
            seconds[name].append(time.perf_counter() - began)
    with open_read_only(dsn) as connection:
        events = read_log_head(connection)[0]
    print(f"a process that only loads this: {_peak('nothing', dsn)} MB")
    for name, taken in seconds.items():
        whole, part = (_shares(seconds[base], taken) for base in ("COPY-out", "COPY-out, accounts"))
        rate = Spread.of(events / s for s in taken).median
        print(
            f"{name:20} {rate:>11,.0f} events/s   × COPY-out {whole!s:18} × accounts' {part!s:18} "
            f"peak {_peak(name, dsn):>4} MB"
        )


def _shares(base: list[float], taken: list[float]) -> Spread:
    """Shares within the same round."""
    return Spread.of(b / t for b, t in zip(base, taken, strict=True))


def _peak(name: str, dsn: str) -> int:
    """Peak memory of a process that runs only this task."""
    command = [sys.executable, "-m", "benchmarks.audit", "--alone", name, dsn]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _alone(name: str, dsn: str) -> None:
    if name in TASKS:
        TASKS[name](dsn)
    print(round(peak_megabytes(os.getpid())))


if __name__ == "__main__":
    main()
