"""Two servers with streaming replication, for tests of failovers."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from huajuan.embedded_postgres import EmbeddedPostgres
from huajuan.embedded_postgres.account import choose_account
from huajuan.embedded_postgres.binaries import find_binaries
from huajuan.server.database import create_tables
from tests.database import eventually, fast_folder, kill_server, passable_folder

COPY_SECONDS_MAX = 120
# In memory where possible. The data of a killed process survives there without fsync.
_SETTINGS = {
    "wal_level": "replica",
    "max_wal_senders": "8",
    "hot_standby": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
}


@dataclass
class Pair:
    """`dsn` has both servers and connects to the one that accepts writes."""

    primary: EmbeddedPostgres
    standby: EmbeddedPostgres

    @property
    def dsn(self) -> str:
        hosts = [str(conninfo_to_dict(server.dsn())["host"]) for server in (self.primary, self.standby)]
        return make_conninfo(
            self.primary.dsn(), host=",".join(hosts), port="5432,5432", target_session_attrs="read-write"
        )

    def wait_for_each_commit(self) -> None:
        """Turns on synchronous replication."""
        on(self.primary, "ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()")
        state = "SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'"
        eventually(lambda: on(self.primary, state))

    def cut_off(self) -> None:
        """Stops the replication: later commits are lost with the primary."""
        head = on(self.primary, "SELECT pg_current_wal_lsn()")[0][0]
        eventually(lambda: on(self.standby, f"SELECT pg_last_wal_replay_lsn() >= '{head}'")[0][0])
        on(self.standby, "ALTER SYSTEM SET primary_conninfo = ''", "SELECT pg_reload_conf()")
        eventually(lambda: not on(self.primary, "SELECT 1 FROM pg_stat_replication"))

    def promote(self) -> None:
        on(self.standby, "SELECT pg_promote()")

    def fail_over(self) -> None:
        kill_server(self.primary)
        self.promote()


@contextmanager
def replicated() -> Iterator[Pair]:
    """A primary and a standby that both have the tables."""
    with (
        passable_folder(fast_folder()) as first,
        passable_folder(fast_folder()) as second,
        _server(first) as primary,
    ):
        create_tables(primary.dsn())
        _copy(primary, second)
        with _server(second) as standby:
            eventually(lambda: on(primary, "SELECT 1 FROM pg_stat_replication WHERE state = 'streaming'"))
            yield Pair(primary, standby)


def on(server: EmbeddedPostgres, *statements: str) -> list[Any]:
    """Executes statements and returns the rows of the last one."""
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        for statement in statements:
            cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def _server(folder: Path) -> EmbeddedPostgres:
    return EmbeddedPostgres(folder, durable=False, die_with_parent=True, settings=_SETTINGS)


def _copy(primary: EmbeddedPostgres, folder: Path) -> None:
    data = folder / "pgdata"
    command: list[str | Path] = [
        find_binaries() / "pg_basebackup",
        "-d",
        primary.dsn(),
        "-D",
        data,
        "-R",
        "-c",
        "fast",
        "-N",
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=COPY_SECONDS_MAX)
    account = choose_account(primary.data, lambda _: None)
    for path in [data, *data.rglob("*")]:
        account.give(path)
