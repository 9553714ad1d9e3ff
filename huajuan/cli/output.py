"""Prints results on standard output, messages and the progress of long work on standard error."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import msgspec

from huajuan.cli.stdio import discard_unwritable_output

LINE_EVERY_SECONDS = 5.0
# The current stage, the steps done, and the total.
ShowProgress = Callable[[str, int, int], None]


def print_result(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def print_json(value: Any) -> None:
    print_result(msgspec.json.encode(value).decode())


def print_done(text: str) -> None:
    """Prints the result of a committed command. An output error is no failure: a retry would repeat it."""
    try:
        print_result(text)
        sys.stdout.flush()
    except OSError as error:
        discard_unwritable_output()
        with suppress(OSError):
            log(f"huajuan: done, but not written to standard output ({error.strerror}): {text}")


def log(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def printable(text: object) -> str:
    """Replaces characters that could control the terminal; for text of users."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in str(text))


def counted_rows(rows: int) -> str:
    return "1 row" if rows == 1 else f"{rows:,} rows"


@contextmanager
def progress(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """Call the yielded function with the number of steps done."""
    with progress_of_stages() as show:
        yield lambda done: show(label, done, total)


@contextmanager
def progress_of_stages() -> Iterator[ShowProgress]:
    """For work with several stages. Shows a bar on a terminal, else prints a line every few seconds."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich import progress as columns
    from rich.console import Console

    count = columns.TextColumn("{task.completed:,.0f}/{task.total:,.0f}")
    rate, left = columns.TextColumn("{task.fields[rate]}"), columns.TimeRemainingColumn()
    text = columns.TextColumn("{task.description}")
    with columns.Progress(text, columns.BarColumn(), count, rate, left, console=Console(stderr=True)) as bars:
        yield _Bar(bars)


class _Bar:
    """The bar appears at the first call."""

    def __init__(self, bars: Any) -> None:
        self._bars = bars

    def __call__(self, stage: str, done: int, total: int) -> None:
        if not self._bars.tasks:
            self._bars.add_task(stage, total=total, rate="")
        (task,) = self._bars.tasks
        speed = task.finished_speed or task.speed
        rate = f"{speed:,.0f}/s" if speed else ""
        self._bars.update(task.id, description=stage, completed=done, total=total, rate=rate)


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
        log(f"{stage}: {done:,} of {total:,}{left}")
