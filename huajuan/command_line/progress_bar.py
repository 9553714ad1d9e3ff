"""A progress bar on the terminal; a line now and then where there is none."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LINE_EVERY_SECONDS = 5.0
# What is being done, how much of it is done, how much there is, and how much a second.
Show = Callable[[str, int, int, float], None]


@contextmanager
def progress_bar(unit: str) -> Iterator[Show]:
    """On standard error, for standard output is left to the results."""
    if sys.stderr.isatty():
        with _bar(unit) as bar:
            task = bar.add_task("", total=None, rate="")
            yield lambda doing, done, whole, rate: bar.update(
                task, description=doing, completed=done, total=whole, rate=f"{rate:,.0f} {unit}/s"
            )
    else:
        yield _Lines(unit)


def _bar(unit: str) -> Progress:
    return Progress(
        TextColumn("{task.description:<9}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(f"{unit}  {{task.fields[rate]}}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


class _Lines:
    """What is new is told at once, and what goes on every few seconds."""

    def __init__(self, unit: str) -> None:
        self._unit = unit
        self._doing = ""
        self._told_at = 0.0

    def __call__(self, doing: str, done: int, whole: int, rate: float) -> None:
        now = time.monotonic()
        if doing != self._doing or now - self._told_at >= LINE_EVERY_SECONDS:
            self._doing, self._told_at = doing, now
            sys.stderr.write(f"{doing}: {done:,} of {whole:,} {self._unit}, {rate:,.0f} a second\n")
