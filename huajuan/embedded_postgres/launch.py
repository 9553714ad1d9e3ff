"""Start the server's process, wait until it takes connections, and end it without ever killing it."""

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from huajuan.embedded_postgres.account import Account
from huajuan.embedded_postgres.errors import EmbeddedPostgresError
from huajuan.embedded_postgres.locks import share_with_owner
from huajuan.embedded_postgres.processes import read_pid_file

Say = Callable[[str], None]

# Recovery after a crash replays the log since the last checkpoint, which may be a gigabyte.
READY_SECONDS = 300
STOP_SIGNALS = ((signal.SIGINT, 30), (signal.SIGQUIT, 10))
POLL_SECONDS = 0.01
LOG_BYTES = 10_000_000
LOG_TAIL_BYTES = 2000
_PR_SET_PDEATHSIG = 1

# Kept until they are reaped: a server may outlive the object that started it, but not stay a zombie.
_children: list["subprocess.Popen[bytes]"] = []


def ticks(seconds: float, say: Say, doing: str) -> Iterator[None]:
    """Poll for at most that long, saying once a second what is being waited for."""
    began = time.monotonic()
    told = 0
    while (waited := time.monotonic() - began) < seconds:
        yield
        if int(waited) > told:
            told = int(waited)
            say(f"{doing}, {told} s")
        time.sleep(POLL_SECONDS)


def reap() -> None:
    """Collect servers of this process that have ended."""
    _children[:] = [child for child in _children if child.poll() is None]


class Log:
    """The server's log file; the last one is kept aside when it has grown past its bound."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rotate()
        self.begins_at = path.stat().st_size if path.exists() else 0

    def _rotate(self) -> None:
        with suppress(FileNotFoundError):
            if self.path.stat().st_size > LOG_BYTES:
                self.path.replace(self.path.with_suffix(".log.1"))

    def open(self) -> int:
        """A descriptor that appends."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        descriptor = os.open(self.path, flags, 0o600)
        share_with_owner(descriptor, self.path.parent)
        return descriptor

    def tail(self) -> str:
        """The last lines of this start."""
        return self.path.read_bytes()[self.begins_at :][-LOG_TAIL_BYTES:].decode(errors="replace")


def launch(
    command: list[str | Path], account: Account, log: Log, *, lock: int, die_with_parent: bool
) -> "subprocess.Popen[bytes]":
    """Start the process in a session of its own, so that Ctrl-C reaches the application first.

    It inherits the lock, and so do its backends: as long as the lock is held, one of them lives.
    """
    arguments = account.process_arguments(log.path.parent)
    arguments |= {"pass_fds": (lock,), "start_new_session": True}
    if die_with_parent:
        arguments["preexec_fn"] = _tie_to(os.getpid())
    output = log.open()
    try:
        child = subprocess.Popen(command, stdout=output, stderr=output, **arguments)
    finally:
        os.close(output)
    _children.append(child)
    return child


def _tie_to(parent: int) -> Callable[[], None]:
    """Linux only: the server shuts down fast when we die, even by kill -9."""
    libc = ctypes.CDLL(None)

    def tie() -> None:
        if hasattr(libc, "prctl"):
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
            if os.getppid() != parent:
                os._exit(1)

    return tie


def wait_until_ready(
    child: "subprocess.Popen[bytes]", pid_file: Path, log: Log, say: Say, doing: str
) -> None:
    """Return once the server takes connections; a start that fails or is interrupted leaves no server."""
    try:
        _wait(child, pid_file, log, ticks(READY_SECONDS, say, doing))
    except BaseException:
        if child.poll() is None:
            child.send_signal(signal.SIGINT)
        raise


def _wait(child: "subprocess.Popen[bytes]", pid_file: Path, log: Log, polls: Iterator[None]) -> None:
    for _ in polls:
        entry = read_pid_file(pid_file)
        if entry and entry.pid == child.pid and entry.ready:
            return
        if child.poll() is not None:
            raise EmbeddedPostgresError(
                f"PostgreSQL did not start; its log ({log.path}) ends with\n{log.tail()}"
            )
    raise EmbeddedPostgresError(f"PostgreSQL was not ready after {READY_SECONDS} s; its log:\n{log.tail()}")


def end(pid: int, still_running: Callable[[], bool], say: Say) -> None:
    """Ask for a fast shutdown, then for an immediate one; never kill it, which leaves backends behind."""
    for ask, seconds in STOP_SIGNALS:
        with suppress(ProcessLookupError):
            os.kill(pid, ask)
        for _ in ticks(seconds, say, "stopping the database"):
            reap()
            if not still_running():
                return
    raise EmbeddedPostgresError(f"PostgreSQL (process {pid}) does not stop; see its log.")
