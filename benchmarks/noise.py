"""The machine, its versions, and its noise: the same small work is timed repeatedly during the run."""

import os
import platform
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from benchmarks.append import DISK
from benchmarks.measuring import Spread, brief
from huajuan.embedded_postgres import EmbeddedPostgres

LOOP_STEPS = 300_000
TIMES = 10
PACKAGES = ("litestar", "uvicorn", "uvloop", "httptools", "msgspec", "psycopg", "eventsourcing")


class Noise:
    """Times of a loop on the processor and of a small write with fsync, in milliseconds."""

    def __init__(self) -> None:
        self._loops: list[float] = []
        self._syncs: list[float] = []

    def look(self) -> None:
        """Times both; takes about a tenth of a second."""
        self._loops += [_milliseconds_of_loop() for _ in range(TIMES)]
        with tempfile.TemporaryFile(dir=DISK if DISK.is_dir() else None) as file:
            self._syncs += [_milliseconds_of_sync(file.fileno()) for _ in range(TIMES)]

    def __str__(self) -> str:
        loops, syncs = Spread.of(self._loops), Spread.of(self._syncs)
        return (
            f"Noise: a fixed loop took {loops} ms, {brief(loops.high / loops.low)}× from best to worst; "
            f"a write of 8 KiB with fsync took {syncs} ms."
        )


def _milliseconds_of_loop() -> float:
    began, total = time.perf_counter(), 0
    for number in range(LOOP_STEPS):
        total += number
    return (time.perf_counter() - began) * 1000


def _milliseconds_of_sync(descriptor: int) -> float:
    began = time.perf_counter()
    os.pwrite(descriptor, bytes(8192), 0)
    os.fsync(descriptor)
    return (time.perf_counter() - began) * 1000


def machine() -> str:
    """A description that does not identify the machine."""
    postgres = EmbeddedPostgres(Path(os.devnull)).version
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return (
        f"{os.cpu_count()} cores ({_processor()}), {_memory_gib():.0f} GiB, {platform.system()} "
        f"{platform.release()}; PostgreSQL {postgres} with fsync and synchronous_commit on; "
        f"Python {platform.python_version()}, {packages}"
    )


def _processor() -> str:
    return _read_field("/proc/cpuinfo", "model name", platform.machine())


def _memory_gib() -> float:
    return float(_read_field("/proc/meminfo", "MemTotal", "0").split()[0]) / (1 << 20)


def _read_field(path: str, name: str, otherwise: str) -> str:
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return otherwise
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), otherwise)
