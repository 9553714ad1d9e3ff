"""Fail points: kill, pause, and no effect outside of tests."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from huajuan.runtime.fail_points import FOLDER, MARK, PASSED
from tests.database import eventually
from tests.server.service import environment

PROGRAM = "from huajuan.runtime.fail_points import at; at('here'); print('alive')"


def started(**variables: str) -> "subprocess.Popen[str]":
    given = environment() | variables
    return subprocess.Popen([sys.executable, "-c", PROGRAM], env=given, stdout=subprocess.PIPE, text=True)


def test_a_process_is_killed_at_the_point(tmp_path: Path) -> None:
    (tmp_path / "here.kill").touch()
    dying = started(**{FOLDER: str(tmp_path), MARK: "1"})
    assert dying.communicate(timeout=20)[0] == ""
    assert dying.returncode == -signal.SIGKILL
    second = started(**{FOLDER: str(tmp_path), MARK: "1"})
    assert second.communicate(timeout=20)[0] == "alive\n"


@pytest.mark.parametrize("mark", ["", "0", "yes"])
def test_nothing_happens_outside_a_build_for_tests(tmp_path: Path, mark: str) -> None:
    (tmp_path / "here.kill").touch()
    living = started(**{FOLDER: str(tmp_path), MARK: mark})
    assert living.communicate(timeout=20)[0] == "alive\n"
    assert (tmp_path / "here.kill").exists()


def test_a_process_is_paused_at_the_point(tmp_path: Path) -> None:
    (tmp_path / "here.pause").touch()
    standing = started(**{FOLDER: str(tmp_path), MARK: "1"})
    waiting = tmp_path / f"here.pause{PASSED}"
    eventually(waiting.exists)
    assert standing.poll() is None
    waiting.unlink()
    assert standing.communicate(timeout=20)[0] == "alive\n"
