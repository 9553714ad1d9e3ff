"""Processes and their children, from /proc."""

from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")


def is_alive(pid: int) -> bool:
    """A zombie is not alive."""
    return _state_and_parent(pid)[0] not in ("", "Z", "X")


def children(pid: int) -> set[int]:
    """The live processes."""
    everyone = (int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit())
    return {one for one in everyone if _state_and_parent(one)[1] == pid and is_alive(one)}


def command(pid: int) -> str:
    """The command line of a process; empty if it has ended."""
    with suppress(OSError):
        return (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


def named(pids: set[int], words: str) -> set[int]:
    """Processes whose command line contains these words."""
    return {pid for pid in pids if words in command(pid)}


def _state_and_parent(pid: int) -> tuple[str, int]:
    """The fields after the name, which is in parentheses and may contain anything."""
    with suppress(OSError, IndexError):
        state, parent = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[:2]
        return state, int(parent)
    return "", 0
