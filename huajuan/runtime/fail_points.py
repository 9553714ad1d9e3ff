"""Fail points: named steps at which a test kills or pauses this process. Without a test they do nothing.

A test creates a file in the folder that _HUAJUAN_FAIL_POINTS names: `ask.appended.kill` or
`ask.appended.pause`. The process that reaches the point renames the file, so exactly one process takes it,
and the test sees that.
"""

import os
import signal
import time
from pathlib import Path

FOLDER = "_HUAJUAN_FAIL_POINTS"
# The folder has an effect only together with this variable, which no operator sets by mistake.
MARK = "_HUAJUAN_TEST_BUILD"
PASSED = ".passed"
PAUSE_SECONDS_MAX = 30.0
PAUSE_POLL_SECONDS = 0.01


def at(point: str) -> None:
    """Marks that the process has reached the step."""
    folder = os.environ.get(FOLDER)
    if not folder or os.environ.get(MARK) != "1":
        return
    if _take(Path(folder, f"{point}.kill")):
        os.kill(os.getpid(), signal.SIGKILL)
    if _take(Path(folder, f"{point}.pause")):
        _pause(Path(folder, f"{point}.pause{PASSED}"))


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
