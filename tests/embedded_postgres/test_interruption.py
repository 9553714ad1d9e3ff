"""Ctrl-C during a start leaves no unmanaged server."""

from pathlib import Path

import pytest

from huajuan.embedded_postgres import EmbeddedPostgres
from tests.database import eventually


def interrupt(told: str) -> None:
    """The progress callback raises in the middle of a start."""
    if told.startswith("starting"):
        raise KeyboardInterrupt


def test_an_interrupted_start_can_be_repeated(folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        EmbeddedPostgres(folder, durable=False, progress=interrupt).start()
    with EmbeddedPostgres(folder, durable=False, die_with_parent=True) as server:
        assert server.running()
    eventually(lambda: server.running() is None)


def test_a_server_interrupted_during_its_start_is_stopped(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("huajuan.embedded_postgres.processes._wait", interrupted)
    server = EmbeddedPostgres(folder, durable=False)
    with pytest.raises(KeyboardInterrupt):
        server.start()
    eventually(lambda: server.running() is None)
    monkeypatch.undo()
    with server:
        assert server.running()
