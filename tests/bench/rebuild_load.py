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
SWAP_SECONDS = 0.25
_SCHEMA = "SELECT oid FROM pg_namespace WHERE nspname = 'point_history_v2'"
_READ = "SELECT count(*), max(id) FROM point_history_v2.point_history WHERE account_id = %s"


@dataclass
class Waits:
    """When each began, and the seconds it took."""

    began: list[float] = field(default_factory=list)
    taken: list[float] = field(default_factory=list)

    def add(self, began: float) -> None:
        self.began.append(began)
        self.taken.append(time.perf_counter() - began)

    def longest_about(self, moments: list[float]) -> float:
        """Of those that were under way within `SWAP_SECONDS` of one of these moments."""
        near = [
            taken
            for began, taken in zip(self.began, self.taken, strict=True)
            if any(began - SWAP_SECONDS < moment < began + taken + SWAP_SECONDS for moment in moments)
        ]
        return max(near, default=0)

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
    swaps: list[float] = field(default_factory=list)
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
                stretch[0].append.add(began)
                await asyncio.sleep(0.002)

        writing = asyncio.create_task(write())
        reading = [asyncio.to_thread(_read, dsn, ann, stretch, stop) for _ in range(READERS)]
        readers = asyncio.gather(*reading, asyncio.to_thread(_watch_swaps, dsn, stretch, stop))
        await asyncio.sleep(quiet_seconds)
        quiet, stretch[0] = stretch[0], Quiet()
        still = [await asyncio.to_thread(rebuild) for _ in range(2)]
        busy = stretch[0]
        stop.set()
        await asyncio.gather(writing, readers)
        return quiet, busy, still


def _watch_swaps(dsn: str, stretch: list[Quiet], stop: threading.Event) -> None:
    """A table's name means another schema from its swap on."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        known = None
        while not stop.is_set():
            found = connection.execute(_SCHEMA, prepare=True).fetchone()
            if known is not None and found != known:
                stretch[0].swaps.append(time.perf_counter())
            known = found
            time.sleep(0.005)


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
            now.read.add(began)
            count = row[0] if row else 0
            now.went_back += count < seen
            seen = count
            time.sleep(0.002)
