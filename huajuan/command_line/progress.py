"""Shows on standard error how far long work is, how fast it goes, and how long it will take."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

LINE_EVERY_SECONDS = 5.0


class _Rate(ProgressColumn):
    """Steps a second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.finished_speed or task.speed or 0:,.0f}/s")


@contextmanager
def progress(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """Call it with how many steps are done. A bar on a terminal, else a line now and then."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(label, total).told
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bars:
        task = bars.add_task(label, total=total)
        yield lambda done: bars.update(task, completed=done)


class _Lines:
    """Plain lines, for what keeps or pipes them."""

    def __init__(self, label: str, total: int) -> None:
        self._label = label
        self._total = total
        self._began = self._next = time.monotonic()

    def told(self, done: int) -> None:
        now = time.monotonic()
        if now >= self._next + LINE_EVERY_SECONDS or (done >= self._total > 0):
            self._next = now
            rate = done / max(now - self._began, 1e-6)
            left = (self._total - done) / max(rate, 1e-6)
            sys.stderr.write(
                f"{self._label}: {done:,} of {self._total:,}, {rate:,.0f}/s, {left:,.0f} s left\n"
            )
