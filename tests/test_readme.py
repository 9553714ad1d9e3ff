"""The commands of README.md do what it says, in its order, on a fresh service: nothing in it names what is not there."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.server.service import CHECKOUT, Service, environment

README = CHECKOUT / "README.md"
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# These start the service itself, or want a server that is somebody else's.
NOT_HERE = ("./run          # serve", "HUAJUAN_COMFYUI_URLS=", "HUAJUAN_DATABASE_URL=")
SECONDS_MAX = 300
# The service and the commands are this checkout's, in the environment that the tests run in.
RUN = f'#!/bin/sh\nexec {sys.executable} -P -m huajuan "$@"\n'


def blocks() -> list[str]:
    found = BLOCK.findall(README.read_text("utf-8"))
    return [block for block in found if not block.startswith(NOT_HERE)]


def replies_in(said: str) -> list[dict[str, Any]]:
    """The JSON objects among what the commands wrote, some of them without a line's end between."""
    decode, found, start = json.JSONDecoder().raw_decode, list[dict[str, Any]](), 0
    while (start := said.find('{"code"', start)) >= 0:
        reply, start = decode(said, start)
        found.append(reply)
    return found


@pytest.mark.slow
def test_the_commands_work_as_they_stand(tmp_path: Path, database_url: str) -> None:
    (tmp_path / "run").write_text(RUN)
    (tmp_path / "run").chmod(0o755)
    script = "\n".join(blocks())
    assert script.count("./run ") >= 12
    with Service(tmp_path, database_url=database_url).ready() as service:
        script = script.replace("http://localhost:8080", service.address)
        given = environment(database_url=database_url, data_dir=tmp_path / "data", port=service.port)
        ran = subprocess.run(
            ["bash", "-eu", "-o", "pipefail", "-c", script],
            cwd=tmp_path, env=given, capture_output=True, text=True, timeout=SECONDS_MAX,
        )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert [reply["code"] for reply in replies_in(ran.stdout)] == [200] * 5
    assert "equal: all 44,000 pixels" in ran.stdout
    assert (tmp_path / "again.png").exists()
    assert 'event: state\ndata: {"id":' in ran.stdout
    assert '"status":"succeeded"' in ran.stdout
    assert ran.stdout.splitlines().count("whole") == 4
    assert os.access(tmp_path / "log.jsonl.gz", os.R_OK)
    assert "table agrees for every account" in ran.stdout


def test_the_request_id_that_stays_is_told_of() -> None:
    told = README.read_text("utf-8").partition("### What an erased account leaves")[2]
    assert "`X-Request-Id`" in told.partition("\n## ")[0]
