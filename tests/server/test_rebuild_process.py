"""A rebuild requested over HTTP runs in its own process, independent of the service."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from huajuan.projections.rebuild import process
from huajuan.projections.rebuild.process import RebuildProcesses
from tests.server.processes import is_alive
from tests.services import until

SECONDS_MAX = 20
# Records where and how it was started, then waits until the test ends it.
CHILD = """
import json, os, pathlib, sys, time
told = {"session": os.getsid(0), "pid": os.getpid(), "argv": sys.argv[1:]}
told["url"] = os.environ["HUAJUAN_DATABASE_URL"]
pathlib.Path("told.new").write_text(json.dumps(told))
os.rename("told.new", "told")
while not os.path.exists("end"):
    time.sleep(0.01)
"""


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """The folder in which stub children run instead of rebuilds; each is awaited at the end."""
    real = subprocess.Popen

    def popen(command: list[str], **how: Any) -> Any:
        return real([sys.executable, "-c", CHILD, *command[command.index("huajuan") :]], cwd=tmp_path, **how)

    monkeypatch.setattr("huajuan.projections.rebuild.process.subprocess.Popen", popen)
    yield tmp_path
    for thread in watching():
        thread.join(SECONDS_MAX)


def watching() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "rebuild"]


async def nothing() -> int:
    """Skips the recording of the request."""
    return 7


async def test_a_rebuild_has_its_own_session_and_is_not_awaited(children: Path) -> None:
    processes = RebuildProcesses("the database")
    assert await processes.start("users", nothing)
    await until((children / "told").exists)
    told = json.loads((children / "told").read_text())
    assert told["argv"] == ["huajuan", "rebuild", "users", "--on-record", "7"]
    assert told["session"] == told["pid"] != os.getsid(0)
    assert told["url"] == "the database"
    assert not await processes.start("users", nothing), "one of them runs already"
    (children / "end").touch()
    # Reaped: no zombie is left.
    await until(lambda: not Path(f"/proc/{told['pid']}").exists())
    assert not is_alive(told["pid"])
    await until(lambda: not watching())
    assert await processes.start("users", nothing)


async def test_an_embedded_database_is_opened_by_the_rebuild_itself(
    children: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(process.GIVEN_DATABASE_URL, "")
    (children / "end").touch()
    await RebuildProcesses("host=/run").start("users", nothing)
    await until((children / "told").exists)
    assert json.loads((children / "told").read_text())["url"] == ""


async def test_an_unrecorded_rebuild_is_not_started(children: Path) -> None:
    async def fail() -> int:
        raise ZeroDivisionError

    processes = RebuildProcesses("the database")
    with pytest.raises(ZeroDivisionError):
        await processes.start("users", fail)
    (children / "end").touch()
    assert await processes.start("users", nothing), "the next one may"
