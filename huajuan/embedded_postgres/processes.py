"""Processes that share a data folder: the error of this package, locks between processes, and pid files."""

import fcntl
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

POLL_SECONDS = 0.02
_PROC = Path("/proc")
_PS_SECONDS = 10
_READY = ("ready", "standby")


class EmbeddedPostgresError(RuntimeError):
    """The embedded server cannot be used; the message has the reason and a remedy."""


def open_lock(path: Path) -> int:
    """A descriptor of the lock's file, which is created if missing. The owner of the folder owns the file.

    The kernel releases a lock when its process ends, even by kill -9.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        share_with_owner(descriptor, path.parent)
    except OSError as error:
        message = f"cannot use {path} ({error.strerror}): the data folder must be your own and writable."
        raise EmbeddedPostgresError(message) from error
    return descriptor


def share_with_owner(descriptor: int, folder: Path) -> None:
    """As root: gives the file to the owner of the folder, who must still be able to use it."""
    if os.geteuid() == 0:
        owner = folder.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def try_exclusive(descriptor: int) -> bool:
    """Takes the exclusive lock if no other process has the lock."""
    with suppress(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def wait_exclusive(descriptor: int, seconds: float) -> bool:
    """Takes the exclusive lock; False if other processes have it for longer than `seconds`."""
    deadline = time.monotonic() + seconds
    while not try_exclusive(descriptor):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def share(descriptor: int) -> None:
    """Takes the shared lock. Blocks, so use it only where no process has the exclusive lock for long."""
    fcntl.flock(descriptor, fcntl.LOCK_SH)


@contextmanager
def held(path: Path, seconds: float) -> Iterator[int]:
    """Has the exclusive lock during the block. Raises `EmbeddedPostgresError` after waiting for `seconds`."""
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


class PidFile(NamedTuple):
    """The content of postmaster.pid, which the server writes into its data folder."""

    pid: int
    socket_folder: Path | None
    status: str

    @property
    def ready(self) -> bool:
        """Whether the server accepts connections."""
        return self.status in _READY


def read_pid_file(path: Path) -> PidFile | None:
    """The pid is on the first line, the socket folder on the fifth, the status on the eighth."""
    with suppress(OSError, ValueError):
        lines = [os.fsdecode(line) for line in path.read_bytes().splitlines()] + [""] * 8
        return PidFile(abs(int(lines[0])), Path(lines[4]) if lines[4] else None, lines[7].strip())
    return None


def exists(pid: int) -> bool:
    """Whether the process exists, be it as a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def serves(pid: int, data: Path) -> bool:
    """Whether the process is a live server of this data folder, and no zombie or process with a re-used pid.

    Reads its command line, which a zombie does not have: `/proc/PID/exe` is closed even to root in a
    container without the right to trace processes.
    """
    with suppress(OSError, ValueError):
        command = _command_line(pid)
        folder = command[command.index("-D") + 1]
        return os.path.basename(command[0]) == "postgres" and os.path.samefile(folder, data)
    return False


def _command_line(pid: int) -> list[str]:
    if _PROC.joinpath("self").exists():
        return [os.fsdecode(part) for part in (_PROC / str(pid) / "cmdline").read_bytes().split(b"\0")]
    return _command_line_by_ps(pid)


def _command_line_by_ps(pid: int) -> list[str]:
    """Without /proc the line has no quoting; the folder is the text between `-D` and `-k`."""
    listing = ["ps", "-ww", "-p", str(pid), "-o", "command="]
    ps = subprocess.run(listing, capture_output=True, text=True, check=False, timeout=_PS_SECONDS)
    program, _, rest = ps.stdout.strip().partition(" -D ")
    return [program, "-D", rest.partition(" -k ")[0]]
