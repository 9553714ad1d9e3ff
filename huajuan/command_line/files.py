"""Where a verb writes a file: whole or not at all, or straight through where there is a device or a pipe."""

import os
import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO
from uuid import uuid4

from huajuan.command_line.verb import CannotDo
from huajuan.command_line.words import file_named


@contextmanager
def file_to_write(name: str) -> Iterator[IO[bytes]]:
    """It appears under its name when it is complete, or not at all; links are followed.

    What is there already and is no regular file is written through. Raises `CannotDo` where nothing can be written.
    """
    there = _look(file_named(name))
    if there and _is_standard_output(there):
        yield sys.stdout.buffer
    elif there and not stat.S_ISREG(there.st_mode):
        with _opened(name, Path(name), "wb") as file:
            yield file
    else:
        with _whole_file(name, Path(os.path.realpath(name))) as file:
            yield file


def _look(name: str) -> os.stat_result | None:
    """What stands there, behind all links."""
    with _told_of(name):
        try:
            there = os.stat(name)
        except FileNotFoundError:
            return None
    if stat.S_ISDIR(there.st_mode):
        raise CannotDo(f"cannot write {name}: it is a folder")
    return there


def _is_standard_output(there: os.stat_result) -> bool:
    """Opened once more, a file to which the shell writes our output would lose what stands in it."""
    try:
        return os.path.samestat(there, os.fstat(sys.stdout.fileno()))
    except (OSError, ValueError):
        return False


@contextmanager
def _whole_file(name: str, place: Path) -> Iterator[IO[bytes]]:
    draft = place.with_name(f".part-{uuid4().hex}")
    try:
        with _opened(name, draft, "xb") as file:
            yield file
        with _told_of(name):
            if place.exists():
                shutil.copymode(place, draft)
            draft.replace(place)
    finally:
        with suppress(OSError):
            draft.unlink()


def _opened(name: str, place: Path, mode: str) -> IO[bytes]:
    with _told_of(name):
        file: IO[bytes] = place.open(mode)
        return file


@contextmanager
def _told_of(name: str) -> Iterator[None]:
    """By the name that was given: how the file is called meanwhile is nobody's business."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise CannotDo(f"cannot write {name}: {getattr(error, 'strerror', None) or error}") from None
