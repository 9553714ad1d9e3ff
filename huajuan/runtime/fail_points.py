"""Fail points: named steps at which a test kills or pauses this process. Without a test they do nothing.

A test creates a file in the folder that _HUAJUAN_FAIL_POINTS names: `ask.appended.kill` or
`ask.appended.pause`. The process that reaches the point renames the file, so exactly one process takes it,
and the test sees that.
"""

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path

FOLDER = "_HUAJUAN_FAIL_POINTS"
# The folder has an effect only together with this variable, which no operator sets by mistake.
MARK = "_HUAJUAN_TEST_BUILD"
PASSED = ".passed"
PAUSE_SECONDS_MAX = 30.0
PAUSE_POLL_SECONDS = 0.01


def folder_in(environment: Mapping[str, str]) -> Path | None:
    """The folder of the fail points, `None` outside of tests."""
    folder = environment.get(FOLDER)
    return Path(folder) if folder and environment.get(MARK) == "1" else None


_folder = folder_in(os.environ)


def use_environment(environment: Mapping[str, str]) -> None:
    """Takes the folder from these variables instead of those of the process."""
    global _folder
    _folder = folder_in(environment)


def at(point: str) -> None:
    """Marks that the process has reached the step."""
    if _folder is not None:
        _reach(_folder, point)


def _reach(folder: Path, point: str) -> None:
    if _take(folder / f"{point}.kill"):
        os.kill(os.getpid(), signal.SIGKILL)
    if _take(folder / f"{point}.pause"):
        _pause(folder / f"{point}.pause{PASSED}")


def _take(file: Path) -> bool:
    try:
        file.rename(file.with_name(file.name + PASSED))
    except FileNotFoundError:
        return False
    return True


def _pause(until_gone: Path) -> None:
    """Blocks the whole process, including its heartbeats, like a machine that hangs."""
    deadline = time.monotonic() + PAUSE_SECONDS_MAX
    while until_gone.exists() and time.monotonic() < deadline:
        time.sleep(PAUSE_POLL_SECONDS)
