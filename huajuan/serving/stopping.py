"""Being told to stop: a signal unwinds what was started, in order, and only the first one counts."""

import os
import signal
import threading
import time
from contextlib import suppress
from types import FrameType

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
    raise StopAsked


def say_stopping() -> None:
    """Past the stream, for the signal may have interrupted another writer to it."""
    with suppress(OSError):
        os.write(2, b"\nstopping\n")


def leave_with(parent: int) -> None:
    """End this worker when the process that started it is gone, even by kill -9: it would keep the port."""
    threading.Thread(target=_watch, args=(parent,), name="parent watch", daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(PARENT_LOOK_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
