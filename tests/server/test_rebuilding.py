"""A rebuild that is asked for over HTTP is a process of its own, which the service outlives or not."""

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
# Says where and how it was started, then waits to be told to end.
CHILD = """
import json, os, pathlib, sys, time
told = {"session": os.getsid(0), "pid": os.getpid(), "url": os.environ["HUAJUAN_DATABASE_URL"], "argv": sys.argv[1:]}
pathlib.Path("told.new").write_text(json.dumps(told))
os.rename("told.new", "told")
while not os.path.exists("end"):
    time.sleep(0.01)
"""


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """The folder in which children run, in place of real rebuilds; each is awaited in the end."""
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
    """Nothing is put on record here."""
    return 7


async def test_it_has_a_session_of_its_own_and_is_not_waited_for(children: Path) -> None:
    processes = RebuildProcesses("the database")
    assert await processes.start("users", nothing)
    await until((children / "told").exists)
    told = json.loads((children / "told").read_text())
    assert told["argv"] == ["huajuan", "rebuild", "users", "--on-record", "7"]
    assert told["session"] == told["pid"] != os.getsid(0)
    assert told["url"] == "the database"
    assert not await processes.start("users", nothing), "one of them runs already"
    (children / "end").touch()
    # Reaped: not even a zombie is left.
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


async def test_what_cannot_be_put_on_record_is_not_begun(children: Path) -> None:
    async def fail() -> int:
        raise ZeroDivisionError

    processes = RebuildProcesses("the database")
    with pytest.raises(ZeroDivisionError):
        await processes.start("users", fail)
    (children / "end").touch()
    assert await processes.start("users", nothing), "the next one may"
