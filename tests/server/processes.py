"""Who is whose child, as /proc tells it."""

from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")


def is_alive(pid: int) -> bool:
    """A zombie is not."""
    return _state_and_parent(pid)[0] not in ("", "Z", "X")


def children(pid: int) -> set[int]:
    """Those alive."""
    everyone = (int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit())
    return {one for one in everyone if _state_and_parent(one)[1] == pid and is_alive(one)}


def command(pid: int) -> str:
    """The words it was started with, or nothing when it is gone."""
    with suppress(OSError):
        return (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


def named(pids: set[int], words: str) -> set[int]:
    """Those whose command has these words in it."""
    return {pid for pid in pids if words in command(pid)}


def _state_and_parent(pid: int) -> tuple[str, int]:
    """The name before them is in parentheses and may hold anything."""
    with suppress(OSError, IndexError):
        state, parent = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[:2]
        return state, int(parent)
    return "", 0
