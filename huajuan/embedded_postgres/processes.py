"""The server's processes: locks between processes, pid files, and how a server is started and stopped."""

import ctypes
import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

OnStatus = Callable[[str], None]

# Recovery after a crash replays the log since the last checkpoint, which may be a gigabyte.
READY_SECONDS = 300
STOP_SIGNALS = ((signal.SIGINT, 30), (signal.SIGQUIT, 10))
POLL_SECONDS = 0.01
LOG_BYTES = 10_000_000
LOG_TAIL_BYTES = 2000
_PROC = Path("/proc")
_PS_SECONDS = 10
_READY = ("ready", "standby")
_PR_SET_PDEATHSIG = 1
# Children to reap: a server may outlive the object that started it, but must not stay a zombie.
_children: list["subprocess.Popen[bytes]"] = []


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


def share(descriptor: int) -> None:
    """Takes the shared lock. Blocks, so use it only where no process has the exclusive lock for long."""
    fcntl.flock(descriptor, fcntl.LOCK_SH)


@contextmanager
def held(path: Path, seconds: float) -> Iterator[int]:
    """Has the exclusive lock during the block. Raises `EmbeddedPostgresError` after waiting for `seconds`."""
    descriptor, deadline = open_lock(path), time.monotonic() + seconds
    try:
        while not try_exclusive(descriptor):
            if time.monotonic() > deadline:
                raise EmbeddedPostgresError(
                    f"another process has held {path} for {seconds:g} seconds: "
                    "does a server in another container use this folder?"
                )
            time.sleep(POLL_SECONDS)
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
    except OSError as error:
        return isinstance(error, PermissionError)
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
    if (_PROC / "self").exists():
        return [os.fsdecode(part) for part in (_PROC / str(pid) / "cmdline").read_bytes().split(b"\0")]
    # The line of `ps` has no quoting; the folder is the text between `-D` and `-k`.
    listing = ["ps", "-ww", "-p", str(pid), "-o", "command="]
    ps = subprocess.run(listing, capture_output=True, text=True, check=False, timeout=_PS_SECONDS)
    program, _, rest = ps.stdout.strip().partition(" -D ")
    return [program, "-D", rest.partition(" -k ")[0]]


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
        self.begins_at = path.stat().st_size if path.exists() else 0
        if self.begins_at > LOG_BYTES:
            path.replace(path.with_suffix(".log.1"))
            self.begins_at = 0

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
    command: list[str | Path], arguments: dict[str, Any], log: Log, *, lock: int, die_with_parent: bool
) -> "subprocess.Popen[bytes]":
    """Starts the process in its own session, so that Ctrl-C reaches only the application.

    The process and its backends inherit the lock, so it is held as long as one of them lives.
    """
    arguments = {**arguments, "pass_fds": (lock,), "start_new_session": True}
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
            message = f"PostgreSQL did not start; its log ({log.path}) ends with\n{log.tail()}"
            raise EmbeddedPostgresError(message)
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
