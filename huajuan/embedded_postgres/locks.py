"""Locks between processes that the kernel lets go of when their holder dies, however it dies."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from huajuan.embedded_postgres.errors import EmbeddedPostgresError

POLL_SECONDS = 0.02


def open_lock(path: Path) -> int:
    """A descriptor of the lock's file, made when missing and owned by whoever owns its folder."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        share_with_owner(descriptor, path.parent)
    except OSError as error:
        message = f"cannot use {path} ({error.strerror}): the data folder must be your own and writable."
        raise EmbeddedPostgresError(message) from error
    return descriptor


def share_with_owner(descriptor: int, folder: Path) -> None:
    """What root leaves in a person's folder must stay usable for that person."""
    if os.geteuid() == 0:
        owner = folder.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def try_exclusive(descriptor: int) -> bool:
    """Take the lock for ourselves if nobody else holds it."""
    with suppress(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def wait_exclusive(descriptor: int, seconds: float) -> bool:
    """Take the lock for ourselves, waiting at most that long for others to let go."""
    deadline = time.monotonic() + seconds
    while not try_exclusive(descriptor):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def share(descriptor: int) -> None:
    """Hold the lock together with others; only called where nobody holds it alone for long."""
    fcntl.flock(descriptor, fcntl.LOCK_SH)


@contextmanager
def held(path: Path, seconds: float) -> Iterator[int]:
    """Hold the lock alone for a block of code; waits at most that long, then raises EmbeddedPostgresError."""
    descriptor = open_lock(path)
    try:
        if not wait_exclusive(descriptor, seconds):
            raise EmbeddedPostgresError(
                f"another process has held {path} for {seconds:g} seconds: "
                "does a server in another container use this folder?"
            )
        yield descriptor
    finally:
        os.close(descriptor)
