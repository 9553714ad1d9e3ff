"""The database: that of the given DSN, or an embedded server that is restarted after a crash."""

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
import structlog

from huajuan.embedded_postgres import EmbeddedPostgres, EmbeddedPostgresError
from huajuan.postgres.connect import connect_blocking
from huajuan.postgres.retry import StalePrimary
from huajuan.postgres.server_check import UnsupportedDatabase, check_readable, check_writable
from huajuan.postgres.timelines import Timelines, timelines_folder
from huajuan.runtime.errors import OperatorError
from huajuan.runtime.redaction import DsnMalformed, parsed_dsn, without_dsn_secrets
from huajuan.settings import PREFIX, Settings

if TYPE_CHECKING:
    from huajuan.projections.rebuild.session import RebuildLimits

CONNECT_SECONDS_MAX = 10
REASON_CHARACTERS_MAX = 500
DATABASE_NAME = "huajuan"
POLL_SECONDS = 0.5
RESTART_PAUSE_SECONDS_MAX = 30.0
_logger = structlog.get_logger(__name__)


class DatabaseUnusable(OperatorError):
    """The database cannot be reached, or does not meet the requirements."""


@dataclass(frozen=True)
class Database:
    """The DSN, and a description without a password."""

    dsn: str
    description: str


def print_status(text: str) -> None:
    """A line on standard error. A closed terminal is no error."""
    with suppress(OSError):
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


@contextmanager
def open_database(settings: Settings, on_status: Callable[[str], None]) -> Iterator[Database]:
    """A database with all tables. The last process that uses an embedded server stops it."""
    from huajuan.projections.registry import SCHEMAS
    from huajuan.server.limits import limits_of

    with reach_database(settings, on_status) as database:
        with _errors_in_one_line(database.dsn):
            with _connected(database.dsn) as connection:
                check_writable(connection, ("log", "operations", *SCHEMAS))
                # A replaced primary may lack committed events.
                Timelines(timelines_folder(settings.data_folder)).check_blocking(connection)
            create_tables(database.dsn, on_status, limits_of(settings).rebuild)
        yield database


@contextmanager
def reach_database(settings: Settings, on_status: Callable[[str], None]) -> Iterator[Database]:
    """A database as it is: no table is created or built in it."""
    if settings.database_url:
        yield _given_database(settings.database_url)
        return
    # libpq variables meant for other servers must not change how the embedded server is reached.
    for name in [name for name in os.environ if name.startswith("PG")]:
        del os.environ[name]
    try:
        server = EmbeddedPostgres(settings.data_folder / "postgres", progress=on_status)
        with server, restarting_on_crash(server):
            yield _embedded_database(server)
    except EmbeddedPostgresError as error:
        raise DatabaseUnusable(str(error)) from error


def create_tables(
    dsn: str, on_status: Callable[[str], None] = lambda _: None, limits: "RebuildLimits | None" = None
) -> None:
    """Creates the log and all read tables. Safe to call in several processes at once."""
    # Commands that only read need neither: their imports take long.
    from huajuan.event_store.schema import create_schema
    from huajuan.projections.rebuild.schemas import build_read_tables
    from huajuan.projections.registry import PROJECTIONS

    create_schema(dsn)
    build_read_tables(dsn, PROJECTIONS, on_status, limits)


def _given_database(dsn: str) -> Database:
    with _errors_in_one_line(dsn), _connected(dsn) as connection:
        check_readable(connection)
        parts, major = connection.info, connection.info.server_version // 10_000
        where = f"PostgreSQL {major} at {parts.host or 'localhost'}:{parts.port}, database {parts.dbname}"
    return Database(dsn, where)


def _connected(dsn: str) -> psycopg.Connection:
    parsed_dsn(dsn)
    return connect_blocking(dsn, connect_timeout=CONNECT_SECONDS_MAX)


@contextmanager
def _errors_in_one_line(dsn: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if reason := _reason(error, dsn):
            raise DatabaseUnusable(f"{PREFIX}DATABASE_URL: {reason}") from None
        raise


def _reason(error: Exception, dsn: str) -> str | None:
    """One line, also where libpq writes some lines for each of several hosts; `None` for other errors."""
    from eventsourcing.persistence import PersistenceError

    from huajuan.event_store.schema import SchemaUnusable

    if isinstance(error, DsnMalformed | UnsupportedDatabase | StalePrimary | SchemaUnusable):
        return str(error)
    if not isinstance(error, psycopg.Error | PersistenceError | UnicodeError):
        return None
    lines = [line.strip(" -\t") for line in without_dsn_secrets(str(error), dsn).splitlines()]
    return "; ".join(line for line in lines if line)[:REASON_CHARACTERS_MAX] or type(error).__name__


def _embedded_database(server: EmbeddedPostgres) -> Database:
    with connect_blocking(server.dsn()) as connection:
        connection.execute("SELECT pg_advisory_lock(1)")
        query = "SELECT 1 FROM pg_database WHERE datname = %s"
        if not connection.execute(query, (DATABASE_NAME,)).fetchone():
            connection.execute(f"CREATE DATABASE {DATABASE_NAME}".encode())
    return Database(server.dsn(DATABASE_NAME), f"embedded PostgreSQL {server.version} in {server.root}")


@contextmanager
def restarting_on_crash(server: EmbeddedPostgres) -> Iterator[None]:
    """Restarts the embedded server when it dies during the block; one of its processes does so."""
    closing = threading.Event()
    watch = threading.Thread(target=_watch, args=(server, closing), name="database watch", daemon=True)
    watch.start()
    try:
        yield
    finally:
        closing.set()
        # A start in progress must end before the stop, else it would leave a server running.
        watch.join()


def _watch(server: EmbeddedPostgres, closing: threading.Event) -> None:
    pause = POLL_SECONDS
    while not closing.wait(pause):
        try:
            if not server.running():
                _logger.warning("the database server died, starting it again")
                server.start()
            pause = POLL_SECONDS
        except (EmbeddedPostgresError, OSError) as error:
            _logger.error("the database server did not start", reason=str(error))
            pause = min(pause * 2, RESTART_PAUSE_SECONDS_MAX)
