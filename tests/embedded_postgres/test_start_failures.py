"""Errors of a start have a message with a remedy."""

import fcntl
import os
import tempfile
from pathlib import Path

import pytest

from huajuan.embedded_postgres import EmbeddedPostgres, EmbeddedPostgresError, server
from huajuan.embedded_postgres.folders import socket_folder

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
as_user = pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")


def refused(root: Path, settings: dict[str, str] | None = None) -> str:
    """The message with which a start fails."""
    with pytest.raises(EmbeddedPostgresError) as caught:
        EmbeddedPostgres(root, durable=False, die_with_parent=True, settings=settings).start()
    return str(caught.value)


def test_without_programs_a_start_fails(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUAJUAN_PG_BIN", str(folder))
    assert "HUAJUAN_DATABASE_URL" in refused(folder)


def test_data_of_another_major_version_is_rejected(folder: Path) -> None:
    with EmbeddedPostgres(folder, durable=False, die_with_parent=True) as made:
        pass
    (made.data / "PG_VERSION").write_text("12\n")
    message = refused(folder)
    assert "PostgreSQL 12" in message
    assert str(made.data) in message


def test_a_server_that_does_not_start_shows_the_end_of_its_log(folder: Path) -> None:
    assert 'unrecognized configuration parameter "nonsense"' in refused(folder, settings={"nonsense": "1"})
    with EmbeddedPostgres(folder, durable=False, die_with_parent=True) as corrected:
        assert corrected.running()


def test_a_data_folder_with_something_else_in_it_is_left_alone(folder: Path) -> None:
    (folder / "pgdata").mkdir()
    (folder / "pgdata" / "precious").touch()
    assert str(folder) in refused(folder)
    assert (folder / "pgdata" / "precious").exists()


def test_a_folder_below_a_file_is_rejected(folder: Path) -> None:
    (folder / "file").touch()
    assert "HUAJUAN_DATA_DIR" in refused(folder / "file" / "data")


@as_user
def test_a_folder_without_permission_is_rejected(folder: Path) -> None:
    (folder / "closed").mkdir(mode=0o500)
    assert "no permission to write" in refused(folder / "closed")


@as_root
def test_a_closed_parent_folder_is_reported_and_not_opened(folder: Path) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    assert f"{closed} is closed to it" in refused(closed / "data")
    assert closed.stat().st_mode & 0o777 == 0o700


@as_root
def test_the_socket_folder_of_another_account_is_rejected(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    root = folder / ("x" * 120)
    theirs = socket_folder(root, os.geteuid())
    theirs.mkdir()
    os.chown(theirs, 54321, 54321)
    assert "belongs to another account" in refused(root)


def test_a_link_as_socket_folder_is_rejected(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    root = folder / ("x" * 120)
    socket_folder(root, os.geteuid()).symlink_to(folder)
    assert "belongs to another account" in refused(root)


def test_a_held_server_lock_prevents_a_start(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "ORPHAN_SECONDS", 0.1)
    with (folder / "server.lock").open("w") as elsewhere:
        fcntl.flock(elsewhere, fcntl.LOCK_EX)
        assert "another container" in refused(folder)
