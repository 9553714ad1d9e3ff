"""The demo server as a process: prints its URL, ends on signals and with its parent, and cleans up."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from huajuan.inference_client import ComfyUI, JobLost, JobState, OutcomeUnknown
from tests.inference_client.conftest import FAST, begun, drawing
from tests.loopback import NO_TLS

COMMAND = [sys.executable, "-m", "huajuan.demo_comfyui", "--port", "0", "--exit-with-stdin"]


class Process:
    """A demo server process with its files in the test's folder."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.child = subprocess.Popen(
            [*COMMAND, *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"TMPDIR": str(folder)},
        )
        assert self.child.stdout is not None
        self.url: str = json.loads(self.child.stdout.readline())["url"]

    def close(self) -> None:
        self.child.kill()
        self.child.wait(10)
        for pipe in (self.child.stdin, self.child.stdout, self.child.stderr):
            assert pipe is not None
            pipe.close()


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    running = Process(tmp_path, "--step-seconds", "0.2")
    yield running
    running.close()


def said(process: Process) -> tuple[int, str]:
    _, errors = process.child.communicate(timeout=10)
    return process.child.returncode, errors.decode()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(process: Process, tmp_path: Path, number: signal.Signals) -> None:
    assert len(list(tmp_path.iterdir())) == 1
    process.child.send_signal(number)
    code, errors = said(process)
    assert code == 0
    assert "no model draws" in errors
    assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []


def test_it_ends_with_its_parent(process: Process, tmp_path: Path) -> None:
    assert process.child.stdin is not None
    process.child.stdin.close()
    assert process.child.wait(10) == 0
    assert list(tmp_path.iterdir()) == []


def test_faults_are_not_served_unless_asked_for(process: Process) -> None:
    answer = httpx.post(f"{process.url}/demo/faults", json={"mode": "zombie"}, trust_env=False, verify=NO_TLS)
    assert answer.status_code == 404
    assert httpx.post(f"{process.url}/demo/restart", trust_env=False, verify=NO_TLS).status_code == 404


async def test_a_killed_server_leaves_the_outcome_open_and_its_successor_knows_nothing(
    process: Process, tmp_path: Path
) -> None:
    asked = drawing(steps=50)
    async with ComfyUI(process.url, limits=FAST) as comfyui:
        drawn = await begun(comfyui, asked, JobState.RUNNING)
        process.child.kill()
        with pytest.raises(OutcomeUnknown):
            await drawn
    successor = Process(tmp_path)
    async with ComfyUI(successor.url, limits=FAST) as comfyui:
        with pytest.raises(JobLost):
            await comfyui.finish(asked)
    successor.close()


async def test_it_stops_in_the_middle_of_a_job_with_a_client_listening(process: Process) -> None:
    async with ComfyUI(process.url, limits=FAST) as comfyui:
        drawn = await begun(comfyui, drawing(steps=50), JobState.RUNNING)
        process.child.terminate()
        with pytest.raises(OutcomeUnknown):
            await drawn
        assert said(process)[0] == 0
