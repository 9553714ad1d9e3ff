"""Fail points: named steps at which a test lets this process die or stand still; without a test's word, nothing.

A test asks for it by a file in the folder that HUAJUAN_FAIL_POINTS names: `ask.appended.kill` or `….pause`.
The process that passes the point renames the file, so that exactly one does, and the test knows.
"""

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path

FOLDER = "HUAJUAN_FAIL_POINTS"
# A folder alone does nothing: no operator sets both by mistake.
MARK = "HUAJUAN_TEST_BUILD"
PASSED = ".passed"
PAUSE_SECONDS_MAX = 30.0
PAUSE_LOOK_SECONDS = 0.01


def folder_in(environment: Mapping[str, str]) -> Path | None:
    """`None` but in a build for tests."""
    folder = environment.get(FOLDER)
    return Path(folder) if folder and environment.get(MARK) == "1" else None


_folder = folder_in(os.environ)


def heed(environment: Mapping[str, str]) -> None:
    """As if the process had been started with these variables."""
    global _folder
    _folder = folder_in(environment)


def at(point: str) -> None:
    """The process is here."""
    if _folder is not None:
        _pass(_folder, point)


def _pass(folder: Path, point: str) -> None:
    if _is_asked_for(folder / f"{point}.kill"):
        os.kill(os.getpid(), signal.SIGKILL)
    if _is_asked_for(folder / f"{point}.pause"):
        _stand_still(folder / f"{point}.pause{PASSED}")


def _is_asked_for(file: Path) -> bool:
    try:
        file.rename(file.with_name(file.name + PASSED))
    except FileNotFoundError:
        return False
    return True


def _stand_still(until_gone: Path) -> None:
    """The whole process, its heartbeat too, as on a machine that hangs."""
    give_up_at = time.monotonic() + PAUSE_SECONDS_MAX
    while until_gone.exists() and time.monotonic() < give_up_at:
        time.sleep(PAUSE_LOOK_SECONDS)
