"""Shows the progress, rate and remaining time of long work on standard error."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

LINE_EVERY_SECONDS = 5.0
# The current stage, the steps done, and the total.
ShowProgress = Callable[[str, int, int], None]


class _Count(ProgressColumn):
    """Steps done, and the total."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.completed:,.0f}/{task.total or 0:,.0f}")


class _Rate(ProgressColumn):
    """Steps per second, once known."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f}/s" if speed else "")


@contextmanager
def progress(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """Call the yielded function with the number of steps done."""
    with progress_of_stages() as show:
        yield lambda done: show(label, done, total)


@contextmanager
def progress_of_stages() -> Iterator[ShowProgress]:
    """For work with several stages. Shows a bar on a terminal, else prints a line every few seconds."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines()
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        _Count(),
        _Rate(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bars:
        yield _Bar(bars)


class _Bar:
    """The bar appears at the first call."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars

    def __call__(self, stage: str, done: int, total: int) -> None:
        if not self._bars.tasks:
            self._bars.add_task(stage, total=total)
        self._bars.update(self._bars.task_ids[0], description=stage, completed=done, total=total)


class _Lines:
    """Plain lines for files and pipes: a new stage at once, progress within it every few seconds."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._printed_at = 0.0
        self._printed = ("", 0)

    def __call__(self, stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        is_due = now >= self._printed_at + LINE_EVERY_SECONDS or done >= total
        if (stage, done) == self._printed or (stage == self._printed[0] and not is_due):
            return
        self._printed, self._printed_at = (stage, done), now
        rate = done / max(now - self._began, 1e-6)
        # The remaining time is unknown before the first step.
        left = f", {rate:,.0f}/s, {(total - done) / rate:,.0f} s left" if rate else ""
        sys.stderr.write(f"{stage}: {done:,} of {total:,}{left}\n")
