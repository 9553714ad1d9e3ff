"""Starting and stopping the server, and connections to it, for any path of its folder."""

import os
import stat
from pathlib import Path

import psycopg
import pytest

from huajuan.embedded_postgres import EmbeddedPostgres


def answer(server: EmbeddedPostgres, question: str) -> object:
    """The first value of the first row."""
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        row = connection.execute(question).fetchone()
        return row and row[0]


def careless(root: Path) -> EmbeddedPostgres:
    """A server without durability, which ends with the tests."""
    return EmbeddedPostgres(root, durable=False, die_with_parent=True)


def mode(path: Path) -> int:
    """Permission bits."""
    return stat.S_IMODE(path.stat().st_mode)


def test_rows_survive_a_stop_and_a_start(folder: Path) -> None:
    server = EmbeddedPostgres(folder, die_with_parent=True)
    assert server.running() is None
    with server, psycopg.connect(server.dsn()) as connection:
        connection.execute("create table kept as select 7 as number")
    assert server.running() is None
    with server:
        assert answer(server, "select number from kept") == 7
        assert answer(server, "select current_setting('fsync')") == "on"
        assert server.version.split(".")[0] == (server.data / "PG_VERSION").read_text().strip()


def test_starting_again_changes_nothing(folder: Path) -> None:
    with careless(folder) as server:
        first = server.running()
        assert server.start().running() == first


def test_text_sorts_the_same_everywhere(folder: Path) -> None:
    with careless(folder) as server:
        assert (
            answer(server, "select string_agg(c, '' order by c) from unnest('{ä,Z,a,画}'::text[]) c")
            == "Zaä画"
        )
        assert answer(server, "show timezone") == "UTC"


@pytest.mark.parametrize("name", ["with a space", "画卷", "a,b", "deep/" * 3 + "x" * 120, "it's"])
def test_any_path_works(folder: Path, name: str) -> None:
    with careless(folder / name) as server:
        assert answer(server, "show data_directory") == str(folder / name / "pgdata")
    assert server.running() is None


def test_a_short_socket_folder_is_removed_at_the_end(folder: Path) -> None:
    with careless(folder / ("x" * 120)) as server:
        sockets = Path(str(answer(server, "show unix_socket_directories")))
        assert mode(sockets) == 0o700
    assert not sockets.exists()


def test_a_relative_path_is_resolved_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    server = careless(Path("relative"))
    monkeypatch.chdir("/")
    with server:
        assert (folder / "relative" / "pgdata").is_dir()


def test_two_folders_are_two_servers(folder: Path) -> None:
    with careless(folder / "one") as one, careless(folder / "two") as two:
        assert one.running() != two.running()
        assert answer(one, "show data_directory") != answer(two, "show data_directory")


def test_other_accounts_have_no_access(folder: Path) -> None:
    with careless(folder / "new" / "root") as server:
        assert answer(server, "show listen_addresses") == ""
        assert mode(server.root / "run") == 0o700
        assert mode(server.root / "run" / ".s.PGSQL.5432") == 0o700
        assert mode(server.data) == 0o700
        assert not mode(server.root) & 0o066
        assert not mode(server.root.parent) & 0o066


def test_the_server_is_never_root(folder: Path) -> None:
    with careless(folder) as server:
        owner = server.data.stat().st_uid
        assert owner == os.geteuid() or os.geteuid() == 0
        assert owner != 0
        assert os.stat(f"/proc/{server.running()}").st_uid == owner


def test_progress_is_reported(folder: Path) -> None:
    heard: list[str] = []
    with EmbeddedPostgres(folder, durable=False, die_with_parent=True, progress=heard.append):
        assert heard == ["creating the database", "starting the database"]
