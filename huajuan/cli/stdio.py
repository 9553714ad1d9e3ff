"""The standard streams as they may be: closed from the start, full, or read by somebody who has left."""

import io
import os
import signal
import sys
from contextlib import suppress
from typing import TextIO

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
    for stream in (sys.stdout, sys.stderr):
        _reconfigure(stream)


def arguments_as_utf8() -> None:
    """Read each argument that is UTF-8 as UTF-8, whatever the locale's encoding is.

    Most encodings accept most bytes, so under them a name in UTF-8 would become the name of nobody; text in one of
    them is hardly ever UTF-8 by chance.
    """
    sys.argv[1:] = [_as_utf8(word) for word in sys.argv[1:]]


def use_utf8_output() -> None:
    """Machine-readable output is UTF-8 under any locale."""
    _reconfigure(sys.stdout, "utf-8")


def let_go() -> None:
    """What could not be written would be tried again in the interpreter's last steps, and complained about."""
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            _put(number, os.O_WRONLY)
            with suppress(OSError):
                stream.flush()


def _as_utf8(word: str) -> str:
    try:
        return os.fsencode(word).decode()
    except UnicodeError:
        return word


def _reconfigure(stream: TextIO, encoding: str | None = None) -> None:
    """Characters that the encoding lacks are written as escapes: output never fails on them."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(encoding=encoding, errors="backslashreplace")


def _put(number: int, flags: int) -> None:
    nowhere = os.open(os.devnull, flags)
    if nowhere != number:
        os.dup2(nowhere, number)
        os.close(nowhere)


def _text_to(number: int) -> io.TextIOWrapper:
    return open(number, "w", encoding="utf-8", errors="replace", closefd=False)
