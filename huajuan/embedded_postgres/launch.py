"""Starts the server's process, waits until it accepts connections, and stops it without SIGKILL."""

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from huajuan.embedded_postgres.account import SystemAccount
from huajuan.embedded_postgres.processes import EmbeddedPostgresError, read_pid_file, share_with_owner

OnStatus = Callable[[str], None]

# Recovery after a crash replays the log since the last checkpoint, which may be a gigabyte.
READY_SECONDS = 300
STOP_SIGNALS = ((signal.SIGINT, 30), (signal.SIGQUIT, 10))
POLL_SECONDS = 0.01
LOG_BYTES = 10_000_000
LOG_TAIL_BYTES = 2000
_PR_SET_PDEATHSIG = 1

# Children to reap: a server may outlive the object that started it, but must not stay a zombie.
_children: list["subprocess.Popen[bytes]"] = []


def poll(seconds: float, on_status: OnStatus, activity: str) -> Iterator[None]:
    """Yields at most for `seconds`, and reports the activity once a second."""
    began = time.monotonic()
    reported = 0
    while (waited := time.monotonic() - began) < seconds:
        yield
        if int(waited) > reported:
            reported = int(waited)
            on_status(f"{activity}, {reported} s")
        time.sleep(POLL_SECONDS)


def reap() -> None:
    """Collect servers of this process that have ended."""
    _children[:] = [child for child in _children if child.poll() is None]


class Log:
    """The server's log file. A file above `LOG_BYTES` is renamed to `.log.1` at the next start."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rotate()
        self.begins_at = path.stat().st_size if path.exists() else 0

    def _rotate(self) -> None:
        with suppress(FileNotFoundError):
            if self.path.stat().st_size > LOG_BYTES:
                self.path.replace(self.path.with_suffix(".log.1"))

    def open(self) -> int:
        """A descriptor for appending."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        descriptor = os.open(self.path, flags, 0o600)
        share_with_owner(descriptor, self.path.parent)
        return descriptor

    def tail(self) -> str:
        """The last lines since this start."""
        return self.path.read_bytes()[self.begins_at :][-LOG_TAIL_BYTES:].decode(errors="replace")


def launch(
    command: list[str | Path], account: SystemAccount, log: Log, *, lock: int, die_with_parent: bool
) -> "subprocess.Popen[bytes]":
    """Starts the process in its own session, so that Ctrl-C reaches only the application.

    The process and its backends inherit the lock, so it is held as long as one of them lives.
    """
    arguments = account.process_arguments(log.path.parent)
    arguments |= {"pass_fds": (lock,), "start_new_session": True}
    if die_with_parent:
        arguments["preexec_fn"] = _die_with(os.getpid())
    output = log.open()
    try:
        child = subprocess.Popen(command, stdout=output, stderr=output, **arguments)
    finally:
        os.close(output)
    _children.append(child)
    return child


def _die_with(parent: int) -> Callable[[], None]:
    """Linux only: the server gets SIGINT (fast shutdown) when the parent dies, even by kill -9."""
    libc = ctypes.CDLL(None)

    def set_death_signal() -> None:
        if hasattr(libc, "prctl"):
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
            if os.getppid() != parent:
                os._exit(1)

    return set_death_signal


def wait_until_ready(
    child: "subprocess.Popen[bytes]", pid_file: Path, log: Log, on_status: OnStatus, activity: str
) -> None:
    """Returns when the server accepts connections. A failed or interrupted start leaves no server."""
    try:
        _wait(child, pid_file, log, poll(READY_SECONDS, on_status, activity))
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


def stop_server(pid: int, still_running: Callable[[], bool], on_status: OnStatus) -> None:
    """Requests a fast, then an immediate shutdown. Never SIGKILL, which would leave backends running."""
    for number, seconds in STOP_SIGNALS:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
        for _ in poll(seconds, on_status, "stopping the database"):
            reap()
            if not still_running():
                return
    raise EmbeddedPostgresError(f"PostgreSQL (process {pid}) does not stop; see its log.")
