"""The database: that of the given DSN, or an embedded server that is restarted after a crash."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import psycopg
import structlog
from eventsourcing.persistence import PersistenceError

from huajuan.embedded_postgres import EmbeddedPostgres, EmbeddedPostgresError
from huajuan.event_store.schema import SchemaUnusable, create_schema
from huajuan.observability.redaction import DsnMalformed, parsed_dsn, without_dsn_secrets
from huajuan.postgres.connect import connect_blocking
from huajuan.postgres.errors import StalePrimary
from huajuan.postgres.server_check import UnsupportedDatabase, check_readable, check_writable
from huajuan.postgres.timelines import Timelines, timelines_folder
from huajuan.projections.rebuild.first_build import build_read_tables
from huajuan.projections.rebuild.session import RebuildLimits
from huajuan.projections.registry import PROJECTIONS, SCHEMAS
from huajuan.server.limits import limits_of
from huajuan.settings import PREFIX, Settings

CONNECT_SECONDS_MAX = 10
REASON_CHARACTERS_MAX = 500
DATABASE_NAME = "huajuan"
POLL_SECONDS = 0.5
RESTART_PAUSE_SECONDS_MAX = 30.0
_OWN_SCHEMAS = ("log", "operations", *SCHEMAS)
_logger = structlog.get_logger(__name__)


class DatabaseUnusable(Exception):
    """The database cannot be reached, or does not meet the requirements; the message is one line."""


@dataclass(frozen=True)
class Database:
    """The DSN, and a description without a password."""

    dsn: str
    description: str


@contextmanager
def open_database(settings: Settings, on_status: Callable[[str], None]) -> Iterator[Database]:
    """A database with all tables. The last process that uses an embedded server stops it."""
    with reach_database(settings, on_status) as database:
        with _errors_in_one_line(database.dsn), _connected(database.dsn) as connection:
            check_writable(connection, _OWN_SCHEMAS)
            reject_old_primary(connection, settings)
        with _errors_in_one_line(database.dsn):
            create_tables(database.dsn, on_status, limits_of(settings).rebuild)
        yield database


@contextmanager
def reach_database(settings: Settings, on_status: Callable[[str], None]) -> Iterator[Database]:
    """A database as it is: no table is created or built in it."""
    with ExitStack() as stack:
        if settings.database_url:
            database = _given_database(settings.database_url)
        else:
            _clear_libpq_variables()
            root = settings.data_folder / "postgres"
            server = stack.enter_context(EmbeddedPostgres(root, progress=on_status))
            stack.enter_context(restarting_on_crash(server))
            database = _embedded_database(server)
        yield database


def _clear_libpq_variables() -> None:
    """libpq variables meant for other servers must not change how the embedded server is reached."""
    for name in [name for name in os.environ if name.startswith("PG")]:
        del os.environ[name]


def reject_old_primary(connection: psycopg.Connection, settings: Settings) -> None:
    """Raises `DatabaseUnusable` for a replaced primary, which may lack committed events."""
    try:
        Timelines(timelines_folder(settings.data_folder)).check_blocking(connection)
    except StalePrimary as error:
        raise DatabaseUnusable(f"{PREFIX}DATABASE_URL: {error}") from None


def create_tables(
    dsn: str, on_status: Callable[[str], None] = lambda _: None, limits: RebuildLimits | None = None
) -> None:
    """Creates the log and all read tables. Safe to call in several processes at once."""
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
    except (DsnMalformed, UnsupportedDatabase, SchemaUnusable) as error:
        raise DatabaseUnusable(f"{PREFIX}DATABASE_URL: {error}") from None
    except (psycopg.Error, PersistenceError, UnicodeError) as error:
        raise DatabaseUnusable(f"{PREFIX}DATABASE_URL: {_one_line(error, dsn)}") from None


def _one_line(error: Exception, dsn: str) -> str:
    """libpq writes some lines for each of several hosts."""
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
        pause = POLL_SECONDS if _is_running(server) else min(pause * 2, RESTART_PAUSE_SECONDS_MAX)


def _is_running(server: EmbeddedPostgres) -> bool:
    if server.running():
        return True
    _logger.warning("the database server died, starting it again")
    try:
        server.start()
    except (EmbeddedPostgresError, OSError) as error:
        _logger.error("the database server did not start", reason=str(error))
        return False
    return True
