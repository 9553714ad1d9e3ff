"""Being told to stop: a signal unwinds what was started, in order, and only the first one counts."""

import os
import signal
import threading
import time
from types import FrameType

PARENT_LOOK_SECONDS = 0.5


class StopAsked(BaseException):
    """Ctrl-C, a termination or a closed terminal."""


def stop_on_signals() -> None:
    """From here on these signals raise `StopAsked` in the main thread, once."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)


def _stop(_: int, __: FrameType | None) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    raise StopAsked


def leave_with(parent: int) -> None:
    """End this worker when the process that started it is gone, even by kill -9: it would keep the port."""
    threading.Thread(target=_watch, args=(parent,), name="parent watch", daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(PARENT_LOOK_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
