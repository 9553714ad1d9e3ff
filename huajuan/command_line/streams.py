"""The standard streams as they may be: closed from the start, full, or read by somebody who has left."""

import io
import os
import signal
import sys
from contextlib import suppress

# The exit status of who writes to a reader that has left, as shells have it.
NOBODY_READS = 128 + signal.SIGPIPE


def make_whole() -> None:
    """A closed stream's number would be given to the next file or connection, which would then get our words.

    Nothing can be read from or written to what takes its place, but errors may be told into the void.
    """
    for number, flags in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            _put(number, flags)
    sys.stdout = sys.stdout or _text_to(1)
    sys.stderr = sys.stderr or _text_to(2)


def let_go() -> None:
    """What could not be written would be tried again in the interpreter's last steps, and complained about."""
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            _put(number, os.O_WRONLY)
            with suppress(OSError):
                stream.flush()


def _put(number: int, flags: int) -> None:
    nowhere = os.open(os.devnull, flags)
    if nowhere != number:
        os.dup2(nowhere, number)
        os.close(nowhere)


def _text_to(number: int) -> io.TextIOWrapper:
    return open(number, "w", encoding="utf-8", errors="replace", closefd=False)
