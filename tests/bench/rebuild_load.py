"""People who read and write while tables are rebuilt: how long each of them waited at most."""

import asyncio
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import psycopg

from huajuan.projections.registry import PROJECTIONS
from huajuan.projections.schema import create_read_tables
from tests.event_store.studio import check_in, register
from tests.projections.gallery import projecting

READERS = 4
_READ = "SELECT count(*), max(id) FROM point_history_v1.point_history WHERE account_id = %s"


@dataclass
class Waits:
    """Seconds each took."""

    taken: list[float] = field(default_factory=list)

    @property
    def p999(self) -> float:
        return statistics.quantiles(self.taken, n=1000)[-1]

    @property
    def longest(self) -> float:
        return max(self.taken)


@dataclass
class Quiet:
    """What happened in one stretch of time."""

    read: Waits = field(default_factory=Waits)
    append: Waits = field(default_factory=Waits)
    failed: int = 0
    went_back: int = 0


def under_load(
    dsn: str, quiet_seconds: float, rebuild: Callable[[], float]
) -> tuple[Quiet, Quiet, list[float]]:
    """First quiet, then during two rebuilds; and for how long each of these stopped the live tables."""
    create_read_tables(dsn, PROJECTIONS)
    return asyncio.run(_under_load(dsn, quiet_seconds, rebuild))


async def _under_load(
    dsn: str, quiet_seconds: float, rebuild: Callable[[], float]
) -> tuple[Quiet, Quiet, list[float]]:
    async with projecting(dsn) as (store, _):
        ann = await register(store, "a reader")
        stretch = [Quiet()]
        stop = threading.Event()

        async def write() -> None:
            while not stop.is_set():
                began = time.perf_counter()
                await check_in_often(store, ann)
                stretch[0].append.taken.append(time.perf_counter() - began)
                await asyncio.sleep(0.002)

        writing = asyncio.create_task(write())
        reading = [asyncio.to_thread(_read, dsn, ann, stretch, stop) for _ in range(READERS)]
        readers = asyncio.gather(*reading)
        await asyncio.sleep(quiet_seconds)
        quiet, stretch[0] = stretch[0], Quiet()
        still = [await asyncio.to_thread(rebuild) for _ in range(2)]
        busy = stretch[0]
        stop.set()
        await asyncio.gather(writing, readers)
        return quiet, busy, still


_days = iter(range(10_000_000))


async def check_in_often(store: object, person: object) -> None:
    await check_in(store, person, next(_days) % 2_900_000)  # type: ignore[arg-type]


def _read(dsn: str, person: object, stretch: list[Quiet], stop: threading.Event) -> None:
    """One connection with a prepared statement; what it sees must never go back."""
    seen = 0
    with psycopg.connect(dsn, autocommit=True) as connection:
        while not stop.is_set():
            now, began = stretch[0], time.perf_counter()
            try:
                row = connection.execute(_READ, (person,), prepare=True).fetchone()
            except psycopg.Error:
                now.failed += 1
                continue
            now.read.taken.append(time.perf_counter() - began)
            count = row[0] if row else 0
            now.went_back += count < seen
            seen = count
            time.sleep(0.002)
