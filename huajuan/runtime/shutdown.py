"""Shutdown by signal: the first one raises an exception that closes all in order, later ones are ignored."""

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

PARENT_POLL_SECONDS = 0.5
# The exit status of interrupted work, by the convention of shells.
EXIT_INTERRUPTED = 128 + signal.SIGINT


class ShutdownRequested(BaseException):
    """SIGINT, SIGTERM or SIGHUP was received."""


def stop_signals() -> set[signal.Signals]:
    """The signals that stop the process. SIGHUP is not among them under `nohup`."""
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return {signal.SIGINT, signal.SIGTERM} | (set() if ignored else {signal.SIGHUP})


def raise_on_stop_signals() -> None:
    """Makes the first of these signals raise `ShutdownRequested` in the main thread."""
    for number in stop_signals():
        signal.signal(number, _stop)


def ignore_stop_signals() -> None:
    """Ignores these signals, for the last steps of the interpreter."""
    for number in stop_signals():
        signal.signal(number, signal.SIG_IGN)


def _stop(_: int, __: FrameType | None) -> None:
    ignore_stop_signals()
    report_stopping()
    if _Deferral.is_active:
        _Deferral.is_signalled = True
    else:
        raise ShutdownRequested


class _Deferral:
    """Whether signals are deferred at the moment, and whether one was received meanwhile."""

    is_active = False
    is_signalled = False


@contextmanager
def deferring_shutdown() -> Iterator[None]:
    """Defers signals until the end of the block, which then raises `ShutdownRequested` if there was one."""
    _Deferral.is_active = True
    try:
        yield
    finally:
        _Deferral.is_active = False
        is_signalled, _Deferral.is_signalled = _Deferral.is_signalled, False
    if is_signalled:
        raise ShutdownRequested


def report_stopping() -> None:
    """Writes to the file descriptor: the signal may have interrupted another writer of the stream."""
    with suppress(OSError):
        os.write(2, b"\nstopping\n")


@contextmanager
def notify_on_shutdown(notify: Callable[[], None]) -> Iterator[None]:
    """Calls `notify` in the running loop when a stop signal is received, in addition to its handler.

    A server waits for its open requests, so requests without an end (event streams) need the notification.
    """
    loop = asyncio.get_running_loop()
    numbers = stop_signals() if threading.current_thread() is threading.main_thread() else set()
    before = {number: handler for number in numbers if callable(handler := signal.getsignal(number))}

    def notify_first(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(notify)
        before[signal.Signals(number)](number, frame)

    for number in before:
        signal.signal(number, notify_first)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def exit_with_parent(parent: int) -> None:
    """Ends this worker when its parent is gone, also after kill -9: else it would keep the port open."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PARENT_POLL_SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent watch", daemon=True).start()
