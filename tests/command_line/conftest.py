"""The command line, run in this process on a test database."""

import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from huajuan.command_line.entry import run
from huajuan.database import create_tables
from huajuan.logs import configure_logs
from tests.serving.service import environment


class Ran(NamedTuple):
    """What a verb came to."""

    status: int
    out: str
    err: str


Type = Callable[..., Ran]


@pytest.fixture
def type_in(
    database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Type]:
    create_tables(database_url)
    monkeypatch.setattr("os.environ", environment(database_url=database_url))

    def type_in(*words: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["huajuan", *words])
        status = run()
        return Ran(status, *capsys.readouterr())

    yield type_in
    configure_logs(readable=True)
