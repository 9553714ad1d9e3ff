"""A rebuild of all read tables, against the stock library's runner and a bare COPY:

`python -m benchmarks.rebuild`.
"""

import argparse
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version

import msgspec
import psycopg

from benchmarks.append import durable_server
from benchmarks.ground import Ground, say
from benchmarks.made_log import make_log
from benchmarks.measuring import peak_megabytes
from benchmarks.rebuild_load import Load, under_load
from benchmarks.rebuild_stock import stock_rate
from benchmarks.table import Goal, Row
from huajuan.event_store.schema import create_schema
from huajuan.projections.rebuild.rebuild import RebuildReport
from huajuan.runtime.logs import configure_logs
from huajuan.server.database import create_tables
from tests.event_store.process import ROOT

STOCK_SECONDS = 10
ROUNDS = 3
_COPY = """
COPY (SELECT originator_id, originator_version, topic, state, notification_id FROM log.huajuan_events)
TO STDOUT
"""


def main() -> None:
    options = _options()
    configure_logs()
    with durable_server(16) as databases:
        dsn = databases.dsn(databases.create())
        create_schema(dsn)
        began = time.perf_counter()
        events = make_log(dsn, options.events)
        print(f"{_machine()}; {events:,} events made in {time.perf_counter() - began:.0f} s", flush=True)
        create_tables(dsn)
        _compare(dsn, events, options)
        if options.load_seconds:
            _tell_of_load(under_load(dsn, options.load_seconds, lambda: rebuilt(dsn)[0].still_seconds))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3, help="each measures every variant once")
    parser.add_argument("--stock-seconds", type=float, default=10, help="how long the stock runner runs")
    parser.add_argument("--load-seconds", type=float, default=20, help="quiet load before the rebuilds")
    return parser.parse_args()


def _compare(dsn: str, events: int, options: argparse.Namespace) -> None:
    stock = stock_rate(dsn, options.stock_seconds) if options.stock_seconds else 0
    print(
        "| round | rebuild, events/s | stock runner, events/s | x stock | of COPY-out | peak memory | equal |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for number in range(1, options.rounds + 1):
        copied = events / _copy_out(dsn)
        report, megabytes = rebuilt(dsn)
        rate = events / report.seconds
        times = f"{rate / stock:.0f}" if stock else "–"
        equal = "yes" if not report.differences and len(report.compared) == len(report.tables) else "NO"
        print(
            f"| {number} | {rate:,.0f} | {stock:,.0f} | {times} | {rate / copied:.3f} "
            f"| {megabytes:.0f} MB | {equal} |",
            flush=True,
        )


def rows(ground: Ground) -> Iterator[Row]:
    """Against the stock runner, which is measured once because it is slow; and the memory."""
    dsn, events = ground.made_log(), ground.options.events
    say("rebuild: the stock runner")
    stock = stock_rate(dsn, STOCK_SECONDS)
    rates, megabytes, goal = [], [], Goal(least=100)
    for number in range(ROUNDS):
        say(f"rebuild: round {number + 1} of {ROUNDS}")
        report, peak = rebuilt(dsn)
        assert report.compared, "old and new tables were not compared"
        assert not report.differences, report.differences
        rates.append(events / report.seconds)
        megabytes.append(peak)
    what = f"rebuild of all tables, {events:,} events, peak memory {max(megabytes):.0f} MB"
    yield Row.of(what, "stock ProjectionRunner", rates, [stock] * ROUNDS, "/s", goal)


def rebuilt(dsn: str) -> tuple[RebuildReport, float]:
    """Runs a rebuild in its own process; returns its report and its peak memory in MB."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HUAJUAN_DATABASE_URL": dsn}
    command = [sys.executable, "-P", "-m", "huajuan", "rebuild", "--json"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        megabytes = 0.0
        while process.poll() is None:
            megabytes = max(megabytes, peak_megabytes(process.pid))
            time.sleep(0.05)
        assert process.stdout
        out = process.stdout.read()
    assert process.returncode == 0, out
    return msgspec.json.decode(out, type=RebuildReport), megabytes


def _copy_out(dsn: str) -> float:
    """Seconds of a COPY of the same rows."""
    began = time.perf_counter()
    with psycopg.connect(dsn) as connection, connection.cursor().copy(_COPY.encode()) as copy:
        for _ in copy:
            pass
    return time.perf_counter() - began


def _tell_of_load(load: Load) -> None:
    print(f"\n{len(load.swaps)} swaps; {load.failed} reads failed, {load.went_back} went back in time")
    print(
        "| under load | quiet p99.9 | quiet longest | p99.9 during rebuilds | longest of all "
        "| longest about each swap |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    for what, busy in load.busy.items():
        quiet = load.quiet[what]
        about = map(busy.longest_about, load.swaps)
        cells = [_in_ms(s, quiet.p999) for s in (quiet.longest, busy.p999, busy.longest, *about)]
        print(f"| {what} | {quiet.p999 * 1e3:.1f} ms | {' | '.join(cells[:3])} | {', '.join(cells[3:])} |")
    print("live tables were locked for " + ", ".join(f"{s * 1e3:.0f} ms" for s in load.still_seconds))


def _in_ms(seconds: float, quiet_seconds: float) -> str:
    return f"{seconds * 1e3:.1f} ms ({seconds / quiet_seconds:.1f}×)"


def _machine() -> str:
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    python, eventsourcing = platform.python_version(), version("eventsourcing")
    return f"{os.cpu_count()} cores, Python {python}, eventsourcing {eventsourcing}, {memory} MB here"


if __name__ == "__main__":
    main()
