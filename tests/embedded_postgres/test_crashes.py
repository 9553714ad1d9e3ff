"""Starts after a crash: dead servers, zombies, re-used pids, incomplete folders."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from huajuan.embedded_postgres import EmbeddedPostgres
from tests.database import Started, eventually, kill_server
from tests.embedded_postgres.conftest import NewUser


def test_committed_rows_survive_kill_9(postgres_control: Started) -> None:
    heard: list[str] = []
    server = postgres_control(progress=heard.append)
    with psycopg.connect(server.dsn()) as connection:
        connection.execute("create table kept as select generate_series(1, 1000) as number")
    kill_server(server)
    server.start()
    with psycopg.connect(server.dsn()) as connection:
        assert connection.execute("select count(*) from kept").fetchone() == (1000,)
    assert heard[-1].startswith("recovering the database after a crash")


def test_a_start_after_kill_9_waits_for_running_backends(postgres_control: Started) -> None:
    server = postgres_control(durable=False)
    with psycopg.connect(server.dsn()) as connection:
        connection.execute("select 1")
        kill_server(server)
        server.start()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("select 1")


def leave_pid(server: EmbeddedPostgres, pid: int) -> None:
    """Writes lock files as of a server that had this pid and vanished."""
    server.stop()
    for path in (server.data / "postmaster.pid", server.root / "run" / ".s.PGSQL.5432.lock"):
        path.write_text(f"{pid}\n{server.data}\n1\n5432\n{server.root / 'run'}\n")
        shutil.copystat(server.data / "PG_VERSION", path)
        os.chown(path, server.data.stat().st_uid, -1)


def test_a_reused_pid_does_not_prevent_a_start(postgres_control: Started) -> None:
    server = postgres_control(durable=False)
    leave_pid(server, os.getpid())
    assert server.running() is None
    assert server.start().running() not in (None, os.getpid())


def test_a_zombie_is_not_a_server(postgres_control: Started) -> None:
    server = postgres_control(durable=False)
    with subprocess.Popen([sys.executable, "-c", ""]) as zombie:
        eventually(lambda: "\nState:\tZ" in Path(f"/proc/{zombie.pid}/status").read_text())
        leave_pid(server, zombie.pid)
        assert server.start().running() not in (None, zombie.pid)


def test_a_killed_initdb_leaves_no_data_folder(folder: Path, new_user: NewUser) -> None:
    user = new_user(folder)
    eventually((folder / "pgdata.new" / "base").exists)
    user.kill()
    assert not (folder / "pgdata").exists()
    with EmbeddedPostgres(folder, durable=False, die_with_parent=True) as server:
        assert not (folder / "pgdata.new").exists()
        with psycopg.connect(server.dsn()) as connection:
            assert connection.execute("select 1").fetchone() == (1,)


def test_the_next_user_stops_the_server_of_a_killed_application(folder: Path, new_user: NewUser) -> None:
    user = new_user(folder)
    pid = user.server_pid()
    user.kill()
    server = EmbeddedPostgres(folder, durable=False)
    assert server.running() == pid
    with server:
        assert server.running() == pid
    assert server.running() is None


def test_a_server_may_die_with_its_parent(folder: Path, new_user: NewUser) -> None:
    user = new_user(folder, die_with_parent=True)
    user.server_pid()
    user.kill()
    server = EmbeddedPostgres(folder)
    eventually(lambda: server.running() is None)
    assert not (folder / "pgdata" / "postmaster.pid").exists()
