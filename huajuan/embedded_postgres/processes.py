"""Tell a live server of one data folder from a dead, a zombie and a re-used process number."""

import os
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_PROC = Path("/proc")
_PS_SECONDS = 10
_READY = ("ready", "standby")


class PidFile(NamedTuple):
    """What the server writes of itself into its data folder."""

    pid: int
    socket_folder: Path | None
    status: str

    @property
    def ready(self) -> bool:
        """Whether the server takes connections."""
        return self.status in _READY


def read_pid_file(path: Path) -> PidFile | None:
    """The number on the first line, the socket folder on the fifth, the status on the eighth."""
    with suppress(OSError, ValueError):
        lines = [os.fsdecode(line) for line in path.read_bytes().splitlines()] + [""] * 8
        return PidFile(abs(int(lines[0])), Path(lines[4]) if lines[4] else None, lines[7].strip())
    return None


def exists(pid: int) -> bool:
    """Whether the system knows the process number, be it only as a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def serves(pid: int, data: Path) -> bool:
    """Whether the process is a live server of this data folder.

    Asked of its command line, which anyone may read and a zombie has not: the link to its program
    is closed even to root in a container without the right to trace processes.
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
    """Without /proc the line has lost its quoting; `-D` is put before `-k`, so cut the folder out between."""
    listing = ["ps", "-ww", "-p", str(pid), "-o", "command="]
    line = subprocess.run(
        listing, capture_output=True, text=True, check=False, timeout=_PS_SECONDS
    ).stdout.strip()
    program, _, rest = line.partition(" -D ")
    return [program, "-D", rest.partition(" -k ")[0]]
