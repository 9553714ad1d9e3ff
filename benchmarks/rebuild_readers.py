"""Readers during rebuilds, in their own process: `python -m benchmarks.rebuild_readers`.

Its arguments are a database and an account. It reads until its standard input ends, and then prints the
results.
"""

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import msgspec
import psycopg

from benchmarks.rebuild_waits import Waits

READERS = 4
PAUSE_SECONDS = 0.002
_SCHEMA = "SELECT oid FROM pg_namespace WHERE nspname = 'point_history_v2'"
# A page as in the API, whose cost does not depend on the length of the history.
_READ = """
SELECT id, time, change FROM point_history_v2.point_history WHERE account_id = %s ORDER BY id DESC LIMIT 20
"""


class Seen(msgspec.Struct):
    """Times in seconds of the clock that all processes share."""

    read: Waits = msgspec.field(default_factory=Waits)
    swaps: list[float] = msgspec.field(default_factory=list)
    failed: list[float] = msgspec.field(default_factory=list)
    went_back: list[float] = msgspec.field(default_factory=list)


def main() -> None:
    dsn, account = sys.argv[1:]
    seen, stop = Seen(), threading.Event()
    with ThreadPoolExecutor(READERS + 1) as threads:
        doing = [threads.submit(_read, dsn, account, seen, stop) for _ in range(READERS)]
        doing.append(threads.submit(_watch_swaps, dsn, seen, stop))
        sys.stdin.read()
        stop.set()
        for one in doing:
            one.result()
    sys.stdout.buffer.write(msgspec.json.encode(seen))


def _watch_swaps(dsn: str, seen: Seen, stop: threading.Event) -> None:
    """Detects the swap of a table by its schema."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        known = None
        while not stop.wait(2 * PAUSE_SECONDS):
            found = connection.execute(_SCHEMA, prepare=True).fetchone()
            if known is not None and found != known:
                seen.swaps.append(time.perf_counter())
            known = found


def _read(dsn: str, account: str, seen: Seen, stop: threading.Event) -> None:
    """One connection with a prepared statement; its results must never become older."""
    newest = 0
    with psycopg.connect(dsn, autocommit=True) as connection:
        while not stop.wait(PAUSE_SECONDS):
            began = time.perf_counter()
            try:
                page = connection.execute(_READ, (account,), prepare=True).fetchall()
            except psycopg.Error:
                seen.failed.append(began)
                continue
            seen.read.add(began)
            last = page[0][0] if page else 0
            if last < newest:
                seen.went_back.append(began)
            newest = last


if __name__ == "__main__":
    main()
