"""Where a verb writes a file: whole or not at all, or straight through where there is a device or a pipe."""

import fcntl
import os
import re
import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO
from uuid import uuid4

from huajuan.cli.arguments import file_named
from huajuan.cli.command import CannotDo

LINKS_MAX = 40
_OPEN_HERE = re.compile(r"/proc/(?P<process>[0-9]{1,9})(/task/[0-9]{1,9})?/fd/(?P<number>[0-9]{1,9})")


@contextmanager
def file_to_write(name: str) -> Iterator[IO[bytes]]:
    """It appears under its name when it is complete, or not at all; links are followed.

    What is there already and is no regular file is written through, and so is a file that is open here, under
    names such as `/dev/fd/3`. Raises `CannotDo` where nothing can be written.
    """
    there, descriptor = _look(file_named(name)), _descriptor(name)
    if there and _is_standard_output(there):
        yield sys.stdout.buffer
    elif there and descriptor is not None:
        with _handed_over(name, descriptor) as file:
            yield file
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


def _descriptor(name: str) -> int | None:
    """The number of an open file of this process that the name leads to, over links. Such a file has a place in
    it, and may have no name any more: it is not to be replaced."""
    place = Path(name)
    for _ in range(LINKS_MAX):
        if (found := _OPEN_HERE.fullmatch(f"{os.path.realpath(place.parent)}/{place.name}")) is not None:
            return int(found["number"]) if int(found["process"]) == os.getpid() else None
        if not place.is_symlink():
            return None
        place = place.parent / place.readlink()
    return None


@contextmanager
def _handed_over(name: str, descriptor: int) -> Iterator[IO[bytes]]:
    """What is written goes where the one who opened it stands in it. It stays open for whoever else has it."""
    with _told_of(name):
        if not fcntl.fcntl(descriptor, fcntl.F_GETFL) & (os.O_WRONLY | os.O_RDWR):
            raise CannotDo(f"cannot write {name}: it is open for reading alone")
        file = os.fdopen(os.dup(descriptor), "wb")
    with file:
        yield file


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
