"""Runs the command line in this process: arguments in, exit status and both outputs out."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from huajuan.cli.main import run
from huajuan.runtime.logs import configure_logs
from huajuan.server.database import create_tables
from tests.server.service import environment


class Ran(NamedTuple):
    """The exit status and output of a command."""

    status: int
    out: str
    err: str


Type = Callable[..., Ran]
Huajuan = Callable[..., Ran]


@pytest.fixture
def type_in(
    database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Type]:
    create_tables(database_url)
    monkeypatch.setattr("os.environ", environment(database_url=database_url))

    def type_in(*words: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["huajuan", *words])
        capsys.readouterr()
        status = run()
        return Ran(status, *capsys.readouterr())

    yield type_in
    configure_logs(readable=True)


@pytest.fixture
def huajuan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Huajuan:
    """Call it as `huajuan(dsn, "verify", "--json")`."""

    def typed(dsn: str, *words: object) -> Ran:
        url = dsn or "postgresql://127.0.0.1:1/nowhere"
        monkeypatch.setattr("os.environ", environment(data_dir=tmp_path / "data", database_url=url))
        monkeypatch.setattr(sys, "argv", ["huajuan", *map(str, words)])
        capsys.readouterr()
        status = run()
        configure_logs(readable=True)
        return Ran(status, *capsys.readouterr())

    return typed
