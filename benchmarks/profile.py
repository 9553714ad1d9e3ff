"""A flame graph of the server under load and its busiest functions: `./run profile "POST /auth/like"`."""

import argparse
import json
import re
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from benchmarks.append import durable_server
from benchmarks.ground import Ground, Options, say
from benchmarks.load import LoadFailed, Order, Target, loading
from benchmarks.people import Town, settle
from huajuan.runtime.logs import configure_logs
from tests.server.person import PASSWORD

SAMPLES_PER_SECOND = 200
FRAMES_TOLD = 10
# Attaching takes a while, and the load must not end before both recordings.
MARGIN_SECONDS = 8
# The event loop's thread; py-spy treats the other threads, which wait, as busy.
SERVING = "run_until_stopped"
METHODS = ("GET", "POST", "PUT", "DELETE")
PER_PICTURE = ("POST /auth/like", "POST /auth/addFavoritedImage")
LOGIN = {"username": "person0", "password": PASSWORD}


class NotRecorded(Exception):
    """py-spy could not attach to the server; the message is that of py-spy."""


def main() -> int:
    options = _parser().parse_args()
    configure_logs()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    method, path = _route(options.route)
    out = Path(options.out or f"profile-{method.lower()}{re.sub(r'[^A-Za-z0-9]+', '-', path)}.svg").absolute()
    try:
        _profile(method, path, out, options)
    except (LoadFailed, NotRecorded) as error:
        say(f"nothing was recorded: {error}")
        return 1
    except KeyboardInterrupt:
        say("stopped")
        return 130
    say(f"written to {out}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="./run profile", description=__doc__)
    parser.add_argument(
        "route", metavar="ROUTE", type=_known_method, help="such as /auth/user/images; GET by default"
    )
    parser.add_argument("--seconds", type=int, default=10, help="of each of the two recordings")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--body", default="", help="JSON, for routes without an example here")
    parser.add_argument("--out", help="the SVG file")
    return parser


def _known_method(route: str) -> str:
    method, path = _route(route)
    if method not in METHODS or not path.startswith("/") or " " in path:
        raise argparse.ArgumentTypeError(f'{route!r} is no route; "POST /auth/like" is one')
    return route


def _route(text: str) -> tuple[str, str]:
    method, _, path = text.rpartition(" ")
    return method or "GET", path


def _profile(method: str, path: str, out: Path, options: argparse.Namespace) -> None:
    with durable_server(options.connections) as databases:
        ground = Ground(databases, Options(1, options.seconds, 1, 1))
        with ground.serving() as (service, dsn):
            town = settle(service.address, dsn)
            order = Order(
                address=service.address,
                targets=_targets(method, path, options.body, town),
                tokens=town.tokens,
                connections=options.connections,
                seconds=2 * options.seconds + MARGIN_SECONDS,
            )
            with loading(order) as done:
                _record(service.process.pid, options.seconds, "flamegraph", out)
                frames = _frames(service.process.pid, options.seconds)
            print(f"{method} {path}: {done[0].per_second:,.0f}/s while it was recorded\n\n{frames}")


def _targets(method: str, path: str, body: str, town: Town) -> list[Target]:
    route = f"{method} {path}"
    if not body and route in PER_PICTURE:
        return [Target(method, path, json.dumps({"url": url})) for url in town.pictures]
    if not body and route == "POST /login":
        body = json.dumps(LOGIN)
    return [Target(method, path, body)]


def _frames(pid: int, seconds: int) -> str:
    """The functions with the most samples of their own, with their shares."""
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "raw.txt"
        _record(pid, seconds, "raw", raw, "--function")
        counts: Counter[str] = Counter()
        for line in raw.read_text().splitlines():
            stack, _, count = line.rpartition(" ")
            if SERVING in stack:
                counts[stack.rpartition(";")[2]] += int(count)
    total = counts.total() or 1
    lines = (f"{count / total:>6.1%}  {frame}" for frame, count in counts.most_common(FRAMES_TOLD))
    return "\n".join(["  self  function", *lines])


def _record(pid: int, seconds: int, form: str, out: Path, *more: str) -> None:
    say(f"recording for {seconds} s ({form})")
    py_spy = Path(sys.executable).with_name("py-spy")
    words = ["record", "--pid", pid, "--duration", seconds, "--rate", SAMPLES_PER_SECOND, "--format", form]
    done = subprocess.run(
        [py_spy, *map(str, words), *more, "--output", out], capture_output=True, text=True, check=False
    )
    if done.returncode or not out.exists():
        raise NotRecorded((done.stderr.strip() or "py-spy said nothing").splitlines()[-1])


if __name__ == "__main__":
    sys.exit(main())
