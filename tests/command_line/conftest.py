"""The command line as its user has it, in this process: words in, exit status and both outputs out."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from huajuan.command_line.entry import run
from huajuan.logs import configure_logs
from tests.serving.service import environment


class Said(NamedTuple):
    """What came of it."""

    status: int
    out: str
    err: str


Huajuan = Callable[..., Said]


@pytest.fixture
def huajuan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Huajuan:
    """`huajuan(dsn, "verify", "--json")`; without a database nothing is found at its address."""

    def typed(dsn: str, *words: object) -> Said:
        url = dsn or "postgresql://127.0.0.1:1/nowhere"
        monkeypatch.setattr("os.environ", environment(data_dir=tmp_path / "data", database_url=url))
        monkeypatch.setattr(sys, "argv", ["huajuan", *map(str, words)])
        capsys.readouterr()
        status = run()
        configure_logs(readable=True)
        return Said(status, *capsys.readouterr())

    return typed
