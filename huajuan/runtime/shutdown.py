"""Being told to stop: a signal unwinds what was started, in order, and only the first one counts."""

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import FrameType
from typing import Any

Handler = Callable[[int, FrameType | None], Any]
PARENT_LOOK_SECONDS = 0.5
# The exit status of work that was stopped before it was done, as shells have it.
TOLD_TO_STOP = 128 + signal.SIGINT


class StopAsked(BaseException):
    """Ctrl-C, a termination or a closed terminal."""


def heeded() -> set[signal.Signals]:
    """The signals that mean stop. Who starts us under `nohup` wants us to outlive the terminal."""
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return {signal.SIGINT, signal.SIGTERM} | (set() if ignored else {signal.SIGHUP})


def stop_on_signals() -> None:
    """From here on these signals raise `StopAsked` in the main thread, once."""
    for number in heeded():
        signal.signal(number, _stop)


def stop_no_more() -> None:
    """The end is reached: a signal in the interpreter's own last steps would only be loud."""
    for number in heeded():
        signal.signal(number, signal.SIG_IGN)


def _stop(_: int, __: FrameType | None) -> None:
    stop_no_more()
    say_stopping()
    if _Later.is_wanted:
        _Later.was_told = True
    else:
        raise StopAsked


class _Later:
    """Whether a signal waits for what must not be interrupted, and whether one does."""

    is_wanted = False
    was_told = False


@contextmanager
def seen_through() -> Iterator[None]:
    """What is done inside is brought to its end, and only then does a signal that came meanwhile raise `StopAsked`."""
    _Later.is_wanted = True
    try:
        yield
    finally:
        _Later.is_wanted = False
        was_told, _Later.was_told = _Later.was_told, False
    if was_told:
        raise StopAsked


def say_stopping() -> None:
    """Past the stream, for the signal may have interrupted another writer to it."""
    with suppress(OSError):
        os.write(2, b"\nstopping\n")


@contextmanager
def told_to_stop(tell: Callable[[], None]) -> Iterator[None]:
    """`tell` is called in the running loop as soon as a signal that means stop arrives, besides what it leads to.

    A server waits for the requests in hand, so those without an end must learn of it.
    """
    loop = asyncio.get_running_loop()
    heard = heeded() if threading.current_thread() is threading.main_thread() else set()
    before = {number: handler for number in heard if callable(handler := signal.getsignal(number))}
    for number, handler in before.items():
        signal.signal(number, partial(_tell_first, loop, tell, handler))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _tell_first(
    loop: asyncio.AbstractEventLoop,
    tell: Callable[[], None],
    then: Handler,
    number: int,
    frame: FrameType | None,
) -> None:
    loop.call_soon_threadsafe(tell)
    then(number, frame)


def leave_with(parent: int) -> None:
    """End this worker when the process that started it is gone, even by kill -9: it would keep the port."""
    threading.Thread(target=_watch, args=(parent,), name="parent watch", daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(PARENT_LOOK_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
