"""Writes an output file atomically, or directly if it is a device, a pipe or an open descriptor."""

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

from huajuan.cli.arguments import require_file_name
from huajuan.runtime.errors import OperatorError

LINKS_MAX = 40
_DESCRIPTOR_PATH = re.compile(r"/proc/(?P<process>[0-9]{1,9})(/task/[0-9]{1,9})?/fd/(?P<number>[0-9]{1,9})")


@contextmanager
def file_to_write(name: str) -> Iterator[IO[bytes]]:
    """The file appears when it is complete, or not at all; symbolic links are followed.

    An existing file that is not regular is written directly, and so is an open file of this process, named
    for example `/dev/fd/3`. Raises `OperatorError` if the file cannot be written.
    """
    status, descriptor = _status_of(require_file_name(name)), _descriptor(name)
    if status and _is_standard_output(status):
        yield sys.stdout.buffer
    elif status and descriptor is not None:
        with _open_descriptor(name, descriptor) as file:
            yield file
    elif status and not stat.S_ISREG(status.st_mode):
        with _open(name, Path(name), "wb") as file:
            yield file
    else:
        with _atomic_file(name, Path(os.path.realpath(name))) as file:
            yield file


def _status_of(name: str) -> os.stat_result | None:
    """The status of the file, after following links; `None` if there is none."""
    with _errors_for(name):
        try:
            status = os.stat(name)
        except FileNotFoundError:
            return None
    if stat.S_ISDIR(status.st_mode):
        raise OperatorError(f"cannot write {name}: it is a folder")
    return status


def _is_standard_output(status: os.stat_result) -> bool:
    """A file that the shell has opened for our output would lose its content if it were opened again."""
    try:
        return os.path.samestat(status, os.fstat(sys.stdout.fileno()))
    except (OSError, ValueError):
        return False


def _descriptor(name: str) -> int | None:
    """The number of an open file of this process that the name leads to over links, if so.

    Such a file has a write position and may have no name any more, so it must not be replaced.
    """
    path = Path(name)
    for _ in range(LINKS_MAX):
        if (found := _DESCRIPTOR_PATH.fullmatch(f"{os.path.realpath(path.parent)}/{path.name}")) is not None:
            return int(found["number"]) if int(found["process"]) == os.getpid() else None
        if not path.is_symlink():
            return None
        path = path.parent / path.readlink()
    return None


def _open_descriptor(name: str, descriptor: int) -> IO[bytes]:
    """Writes at the position of the open file. The descriptor stays open for its other users."""
    with _errors_for(name):
        if not fcntl.fcntl(descriptor, fcntl.F_GETFL) & (os.O_WRONLY | os.O_RDWR):
            raise OperatorError(f"cannot write {name}: it is open for reading only")
        return os.fdopen(os.dup(descriptor), "wb")


@contextmanager
def _atomic_file(name: str, path: Path) -> Iterator[IO[bytes]]:
    partial = path.with_name(f".part-{uuid4().hex}")
    try:
        with _open(name, partial, "xb") as file:
            yield file
        with _errors_for(name):
            if path.exists():
                shutil.copymode(path, partial)
            partial.replace(path)
    finally:
        with suppress(OSError):
            partial.unlink()


def _open(name: str, path: Path, mode: str) -> IO[bytes]:
    with _errors_for(name):
        file: IO[bytes] = path.open(mode)
        return file


@contextmanager
def _errors_for(name: str) -> Iterator[None]:
    """Reports errors with the name that was given, not with that of the partial file."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise OperatorError(f"cannot write {name}: {getattr(error, 'strerror', None) or error}") from None
