"""The standard streams: closed ones, full disks, readers that have exited, and encodings."""

import io
import os
import signal
import sys
from contextlib import suppress
from typing import TextIO

# The exit status after writing to a pipe without a reader, as in shells.
EXIT_BROKEN_PIPE = 128 + signal.SIGPIPE


def replace_closed_streams() -> None:
    """Opens the null device for each closed standard stream.

    Otherwise the next opened file or connection would get the stream's number, and with it our output.
    """
    for number, flags in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            _open_null_as(number, flags)
    sys.stdout = sys.stdout or _text_stream(1)
    sys.stderr = sys.stderr or _text_stream(2)
    for stream in (sys.stdout, sys.stderr):
        _reconfigure(stream)


def decode_arguments() -> None:
    """Decodes each argument that is valid UTF-8 as UTF-8, whatever the locale's encoding is.

    Other encodings decode most UTF-8 names to wrong names without an error; text in them is hardly ever valid
    UTF-8.
    """
    sys.argv[1:] = [_as_utf8(argument) for argument in sys.argv[1:]]


def use_utf8_output() -> None:
    """For machine-readable output, which is UTF-8 in every locale."""
    _reconfigure(sys.stdout, "utf-8")


def discard_unwritable_output() -> None:
    """Discards output that cannot be written: the interpreter would try again at exit, and print an error."""
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            _open_null_as(number, os.O_WRONLY)
            with suppress(OSError):
                stream.flush()


def _as_utf8(argument: str) -> str:
    try:
        return os.fsencode(argument).decode()
    except UnicodeError:
        return argument


def _reconfigure(stream: TextIO, encoding: str | None = None) -> None:
    """Characters that the encoding lacks are written as escapes, so that output never fails on them."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(encoding=encoding, errors="backslashreplace")


def _open_null_as(number: int, flags: int) -> None:
    null = os.open(os.devnull, flags)
    if null != number:
        os.dup2(null, number)
        os.close(null)


def _text_stream(number: int) -> io.TextIOWrapper:
    return open(number, "w", encoding="utf-8", errors="replace", closefd=False)
