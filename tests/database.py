"""Databases for tests: one server a session, templates that contain the tables, and a clone a test."""

import fcntl
import itertools
import os
import secrets
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from huajuan.embedded_postgres import EmbeddedPostgres

TMPFS = Path("/dev/shm")
TMPFS_FREE_BYTES = 512 << 20
# The default strategy since then is several times slower; before, this was the only one and had no name.
FILE_COPY_SINCE = 150000
PATIENCE_SECONDS = 20
PREFIX = "huajuan-test-"
SESSION_PREFIX = "huajuan-session-"
LEFTOVER_SECONDS = 3600

Started = Callable[..., EmbeddedPostgres]


class Databases:
    """Makes and drops databases on one server, over one connection that stays open."""

    def __init__(self, server_dsn: str) -> None:
        self.server_dsn = server_dsn
        self._connection = psycopg.connect(server_dsn, autocommit=True)
        self._prefix = f"huajuan_test_{secrets.token_hex(4)}"
        self._numbers = itertools.count()
        self._retired: list[str] = []

    def dsn(self, name: str) -> str:
        """The DSN of one database of this server."""
        return make_conninfo(self.server_dsn, dbname=name)

    def create(self, template: str | None = None) -> str:
        """A new database, empty or a clone; returns its name."""
        name = f"{self._prefix}_{next(self._numbers)}"
        statement = sql.SQL("create database {}").format(sql.Identifier(name))
        self._connection.execute(statement + self._cloned_from(template) if template else statement)
        return name

    def _cloned_from(self, template: str) -> sql.Composed:
        copied = " strategy file_copy" if self._connection.info.server_version >= FILE_COPY_SINCE else ""
        return sql.SQL(" template {}" + copied).format(sql.Identifier(template))

    def freeze(self, name: str) -> None:
        """Let nobody connect any more: a template in use cannot be cloned."""
        frozen = sql.SQL("alter database {} with allow_connections false").format(sql.Identifier(name))
        self._connection.execute(frozen)

    def retire(self, name: str) -> None:
        """Drop a database one test later: at once, the drop waits 100 ms for its last backend to go."""
        self._retired.append(name)
        self.drop_retired(keep=1)

    def drop_retired(self, keep: int = 0) -> None:
        """Drop what has been retired, but for the newest few."""
        while len(self._retired) > keep:
            self.drop(self._retired.pop(0))

    def drop(self, name: str) -> None:
        """Drop a database now, with whoever is still connected to it."""
        self._connection.execute(
            sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name))
        )

    def close(self) -> None:
        """Drop what is left and hang up."""
        self.drop_retired()
        self._connection.close()


def fast_folder() -> Path:
    """Memory where there is room: there a clone takes 10 ms, on a disk up to 500."""
    roomy = TMPFS.is_dir() and os.access(TMPFS, os.W_OK) and shutil.disk_usage(TMPFS).free > TMPFS_FREE_BYTES
    return TMPFS if roomy else Path(tempfile.gettempdir())


def sweep(parent: Path) -> None:
    """Remove the folders of sessions that were killed long ago: no process holds their lock."""
    for lock in parent.glob(f"{SESSION_PREFIX}*/users.lock"):
        with suppress(OSError), lock.open("rb") as descriptor:
            if time.time() - lock.stat().st_mtime > LEFTOVER_SECONDS:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock.parent, ignore_errors=True)


@contextmanager
def passable_folder(parent: Path | None = None, prefix: str = PREFIX) -> Iterator[Path]:
    """A temporary folder that the account running PostgreSQL for root can pass through, unlike `tmp_path`."""
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def own_postgres(**options: Any) -> Iterator[EmbeddedPostgres]:
    """A running server of one's own, to be killed and restarted; durable unless told otherwise."""
    with (
        passable_folder() as folder,
        EmbeddedPostgres(folder, **{"die_with_parent": True, **options}) as server,
    ):
        yield server


def kill_server(server: EmbeddedPostgres) -> None:
    """kill -9 a server's main process, and return when it is gone."""
    pid = server.running()
    assert pid
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: server.running() is None)


def eventually(condition: Callable[[], object]) -> None:
    """Wait, with an end, for something that another process does."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The DSN of the session's server: HUAJUAN_TEST_DATABASE_URL, or an embedded one without fsync."""
    if given := os.environ.get("HUAJUAN_TEST_DATABASE_URL"):
        yield given
        return
    sweep(fast_folder())
    with (
        passable_folder(fast_folder(), SESSION_PREFIX) as folder,
        EmbeddedPostgres(folder, durable=False, die_with_parent=True) as server,
    ):
        yield server.dsn()


@pytest.fixture(scope="session")
def databases(postgres_server: str) -> Iterator[Databases]:
    """Makes and drops databases on the session's server."""
    made = Databases(postgres_server)
    yield made
    made.close()


@pytest.fixture(scope="session")
def template_database(databases: Databases) -> Iterator[str]:
    """The name of a database with the log and all read tables, empty, to be cloned and never changed."""
    from huajuan.server.database import create_tables

    with _frozen(databases, create_tables) as name:
        yield name


@pytest.fixture(scope="session")
def bare_template_database(databases: Databases) -> Iterator[str]:
    """The same without any read table."""
    from huajuan.event_store.schema import create_schema

    with _frozen(databases, create_schema) as name:
        yield name


def _clone_of(template: str, databases: Databases) -> Iterator[str]:
    name = databases.create(template)
    yield databases.dsn(name)
    databases.retire(name)


@contextmanager
def _frozen(databases: Databases, fill: Callable[[str], None]) -> Iterator[str]:
    name = databases.create()
    fill(databases.dsn(name))
    databases.freeze(name)
    yield name
    databases.drop(name)


@pytest.fixture
def database_url(databases: Databases, template_database: str) -> Iterator[str]:
    """The DSN of a fresh database for this test alone."""
    yield from _clone_of(template_database, databases)


@pytest.fixture
def bare_database_url(databases: Databases, bare_template_database: str) -> Iterator[str]:
    """The same for who makes the read tables."""
    yield from _clone_of(bare_template_database, databases)


@pytest.fixture(scope="module")
def module_database_url(databases: Databases, template_database: str) -> Iterator[str]:
    """The DSN of a fresh database shared by the tests of a module."""
    yield from _clone_of(template_database, databases)


@pytest.fixture
def postgres_control() -> Iterator[Started]:
    """Starts servers of the test's own, `postgres_control(**options)`; all are stopped after it."""
    with ExitStack() as servers:
        yield lambda **options: servers.enter_context(own_postgres(**options))
