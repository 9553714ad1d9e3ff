"""Reads and writes during rebuilds: their longest waits."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

import msgspec
import psycopg

from benchmarks.rebuild_readers import PAUSE_SECONDS, Seen
from benchmarks.rebuild_waits import Waits
from huajuan.event_store.store import EventStore
from huajuan.projections.rebuild.schemas import create_read_tables
from huajuan.projections.registry import PROJECTIONS
from tests.event_store.helpers import check_in, register
from tests.event_store.process import ROOT
from tests.projections.gallery import projecting

REBUILDS = 4
DAYS_MAX = 2_900_000


@dataclass(frozen=True)
class Load:
    """The results without and with rebuilds: waits of reads and appends, times of swaps, failures, stale
    reads, and the time for which live tables were locked.
    """

    quiet: dict[str, Waits]
    busy: dict[str, Waits]
    swaps: list[float]
    failed: int
    went_back: int
    still_seconds: list[float]


def under_load(dsn: str, quiet_seconds: float, rebuild: Callable[[], float]) -> Load:
    """`rebuild` runs one, and returns for how many seconds it locked the live tables."""
    create_read_tables(dsn, PROJECTIONS)
    _settle(dsn)
    return asyncio.run(_under_load(dsn, quiet_seconds, rebuild))


def _settle(dsn: str) -> None:
    """Vacuums and checkpoints, as if the log had grown slowly."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")


async def _under_load(dsn: str, quiet_seconds: float, rebuild: Callable[[], float]) -> Load:
    async with projecting(dsn) as (store, _):
        ann = await register(store, "a reader")
        appends = Waits()
        writing = asyncio.create_task(_write(store, ann, appends))
        with _readers(dsn, ann) as readers:
            began = time.perf_counter()
            await asyncio.sleep(quiet_seconds)
            then = time.perf_counter()
            still = [await asyncio.to_thread(rebuild) for _ in range(REBUILDS)]
            ended = time.perf_counter()
            out, _ = await asyncio.to_thread(readers.communicate)
        writing.cancel()
    seen = msgspec.json.decode(out, type=Seen)
    both = {"read": seen.read, "append": appends}
    return Load(
        quiet={what: waits.between(began, then) for what, waits in both.items()},
        busy={what: waits.between(then, ended) for what, waits in both.items()},
        swaps=seen.swaps,
        failed=len(seen.failed),
        went_back=len(seen.went_back),
        still_seconds=still,
    )


def _readers(dsn: str, account: UUID) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "benchmarks.rebuild_readers", dsn, str(account)]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


async def _write(store: EventStore, person: UUID, appends: Waits) -> None:
    for day in range(DAYS_MAX):
        began = time.perf_counter()
        await check_in(store, person, day)
        appends.add(began)
        await asyncio.sleep(PAUSE_SECONDS)
