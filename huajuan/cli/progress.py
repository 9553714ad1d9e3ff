"""Shows on standard error how far long work is, how fast it goes, and how long it will take."""

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
# What is being done, how much of it is done, and how much there is.
Show = Callable[[str, int, int], None]


class _Count(ProgressColumn):
    """Steps done, and all there are."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.completed:,.0f}/{task.total or 0:,.0f}")


class _Rate(ProgressColumn):
    """Steps a second, as soon as that is known."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f}/s" if speed else "")


@contextmanager
def progress(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """Call it with how many steps are done."""
    with progress_of_stages() as show:
        yield lambda done: show(label, done, total)


@contextmanager
def progress_of_stages() -> Iterator[Show]:
    """Work that changes what it does and how much there is. A bar on a terminal, else a line now and then."""
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
    """There is none before it is known what is done, and how much of it."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars

    def __call__(self, doing: str, done: int, whole: int) -> None:
        if not self._bars.tasks:
            self._bars.add_task(doing, total=whole)
        self._bars.update(self._bars.task_ids[0], description=doing, completed=done, total=whole)


class _Lines:
    """Plain lines, for what keeps or pipes them: what is new is told at once, what goes on every few seconds."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._told_at = 0.0
        self._told = ("", 0)

    def __call__(self, doing: str, done: int, whole: int) -> None:
        now = time.monotonic()
        is_due = now >= self._told_at + LINE_EVERY_SECONDS or done >= whole
        if (doing, done) == self._told or (doing == self._told[0] and not is_due):
            return
        self._told, self._told_at = (doing, done), now
        rate = done / max(now - self._began, 1e-6)
        # Before anything is done nobody knows how long the rest will take.
        left = f", {rate:,.0f}/s, {(whole - done) / rate:,.0f} s left" if rate else ""
        sys.stderr.write(f"{doing}: {done:,} of {whole:,}{left}\n")
