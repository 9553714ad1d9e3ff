"""Repeats steps for a time, in tasks or threads, and measures rate, latency and CPU."""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Self

Step = Callable[[], object]
AsyncStep = Callable[[], Awaitable[object]]
WARM_UP_SECONDS = 0.2


class Sample(NamedTuple):
    """One measurement. Latencies and this process's CPU time per step are in seconds."""

    per_second: float
    p50: float
    p99: float
    cpu: float


class Spread(NamedTuple):
    """The median of several rounds, and their spread."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Self:
        sorted_values = sorted(values)
        return cls(statistics.median(sorted_values), sorted_values[0], sorted_values[-1])

    def __str__(self) -> str:
        return f"{brief(self.median)} [{brief(self.low)}–{brief(self.high)}]"


def brief(value: float) -> str:
    """Two significant digits, or whole numbers."""
    for least, digits in ((9.95, 0), (0.995, 1), (0.0995, 2)):
        if value >= least:
            return f"{value:.{digits}f}"
    return f"{value:.3f}"


@dataclass
class _Meter:
    """Steps are started until `end`; the running ones are awaited and count."""

    end: float
    began: float = field(default_factory=time.perf_counter)
    cpu_began: float = field(default_factory=time.process_time)
    latencies: list[float] = field(default_factory=list)

    @classmethod
    def running(cls, seconds: float) -> Self:
        return cls(time.perf_counter() + seconds)

    async def repeat_async(self, step: AsyncStep) -> None:
        while (began := time.perf_counter()) < self.end:
            await step()
            self.latencies.append(time.perf_counter() - began)

    def repeat(self, step: Step) -> None:
        while (began := time.perf_counter()) < self.end:
            step()
            self.latencies.append(time.perf_counter() - began)

    def sample(self) -> Sample:
        seconds, cpu = time.perf_counter() - self.began, time.process_time() - self.cpu_began
        ordered, count = sorted(self.latencies), len(self.latencies)
        return Sample(count / seconds, ordered[count // 2], ordered[count * 99 // 100], cpu / count)


async def measure_tasks(steps: Sequence[AsyncStep], seconds: float) -> Sample:
    """One task per step, after a short warm-up."""
    for duration in (WARM_UP_SECONDS, seconds):
        meter = _Meter.running(duration)
        await asyncio.gather(*map(meter.repeat_async, steps))
    return meter.sample()


async def measure_threads(steps: Sequence[Step], seconds: float) -> Sample:
    """One thread per step, after a short warm-up; the event loop is blocked in the meantime."""
    with ThreadPoolExecutor(len(steps)) as threads:
        for duration in (WARM_UP_SECONDS, seconds):
            meter = _Meter.running(duration)
            list(threads.map(meter.repeat, steps))
    return meter.sample()


def peak_megabytes(pid: int) -> float:
    """The kernel's peak value of this process.

    That of the parent's `wait` includes the parent's memory before the exec.
    """
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0)
