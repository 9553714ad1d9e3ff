"""Measures ratios, each against a named comparator of the same run: `./run bench [PART …] [--write]`."""

import argparse
import math
import signal
import sys
import time

from benchmarks import (
    append_rows,
    audit,
    generate,
    growth,
    http_reads,
    http_writes,
    memory,
    rebuild,
    storm,
    workers,
)
from benchmarks.append import durable_server
from benchmarks.ground import Ground, Options, Part, say
from benchmarks.load import ROOT, LoadFailed
from benchmarks.noise import Noise
from benchmarks.report import Report
from benchmarks.table import Row
from huajuan.runtime.logs import configure_logs

PARTS: dict[str, Part] = {
    "append": append_rows.rows,
    "growth": growth.rows,
    "reads": http_reads.rows,
    "writes": http_writes.rows,
    "storm": storm.rows,
    "generate": generate.rows,
    "rebuild": rebuild.rows,
    "audit": audit.rows,
    "memory": memory.rows,
    "workers": workers.rows,
}
CLIENTS_MAX = 128
LONG = 1_000_000
PAGE = ROOT / "docs" / "PERFORMANCE.md"


def main() -> int:
    """Returns 0 if everything was measured, whether or not the goals are met."""
    parser = _parser()
    options = parser.parse_args()
    if options.write and options.parts:
        parser.error("--write is for a run of all parts")
    configure_logs()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        report = _measured(options)
    except LoadFailed as error:
        say(f"the benchmark failed: {error}")
        return 1
    except KeyboardInterrupt:
        say("stopped")
        return 130
    print(report.short)
    if options.write:
        PAGE.write_text(report.page, "utf-8")
        say(f"written to {PAGE.relative_to(ROOT)}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="./run bench", description=__doc__)
    names = ", ".join(PARTS)
    parser.add_argument("parts", nargs="*", metavar="PART", type=_part, help=f"of {names}; all by default")
    parser.add_argument("--rounds", type=_at_least_one, default=5, help="each measures every variant once")
    parser.add_argument("--seconds", type=_more_than_nothing, default=1.0, help="of each measurement")
    parser.add_argument(
        "--events", type=_at_least_one, default=200_000, help="of the log for rebuild and audit"
    )
    parser.add_argument("--requests", type=_many, default=30_000, help="for memory")
    parser.add_argument("--long", action="store_true", help="a million events and a million requests")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    return parser


def _part(name: str) -> str:
    if name not in PARTS:
        raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(PARTS)}")
    return name


def _at_least_one(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError("it must be at least 1")
    return number


def _more_than_nothing(text: str) -> float:
    if not 0 < (seconds := float(text)) < math.inf:
        raise argparse.ArgumentTypeError("it must be more than 0")
    return seconds


def _many(text: str) -> int:
    if (number := int(text)) <= memory.FIRST_REQUESTS:
        raise argparse.ArgumentTypeError(f"it must be more than {memory.FIRST_REQUESTS:,}")
    return number


def _measured(given: argparse.Namespace) -> Report:
    options = Options(
        given.rounds,
        given.seconds,
        LONG if given.long else given.events,
        LONG if given.long else given.requests,
    )
    rows: list[Row] = []
    noise, began, seconds = Noise(), time.monotonic(), {}
    with durable_server(CLIENTS_MAX) as databases:
        ground = Ground(databases, options)
        for name in given.parts or PARTS:
            noise.look()
            part_began = time.monotonic()
            rows += PARTS[name](ground)
            seconds[name] = time.monotonic() - part_began
            say(f"{name}: {seconds[name]:.0f} s")
        noise.look()
    return Report(rows, options, noise, ground.busiest_load, seconds, time.monotonic() - began)


if __name__ == "__main__":
    sys.exit(main())
