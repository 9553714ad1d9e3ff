"""The database: the one a DSN names, or an embedded server in the data folder."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import psycopg
from eventsourcing.persistence import PersistenceError

from huajuan.embedded_postgres import EmbeddedPostgres
from huajuan.event_store.errors import StalePrimary
from huajuan.event_store.schema import SchemaTooNew, create_schema
from huajuan.observability.redaction import DsnMalformed, parsed_dsn, without_dsn_secrets
from huajuan.postgres.connect import connect_blocking
from huajuan.postgres.server_check import ServerUnfit, check_readable, check_writable
from huajuan.postgres.timelines import Timelines, timelines_folder
from huajuan.projections.rebuild.first_build import build_read_tables
from huajuan.projections.rebuild.limits import RebuildLimits
from huajuan.projections.registry import PROJECTIONS, SCHEMAS
from huajuan.server.database_watch import kept_running
from huajuan.settings import PREFIX, Settings

CONNECT_SECONDS_MAX = 10
REASON_LETTERS_MAX = 500
DATABASE_NAME = "huajuan"
_OWN_SCHEMAS = ("log", "operations", *SCHEMAS)


class DatabaseUnusable(Exception):
    """The database cannot be reached, or is unfit; the message says which, in one line."""


@dataclass(frozen=True)
class Database:
    """Where it is, and how to say so without a password."""

    dsn: str
    description: str


@contextmanager
def open_database(settings: Settings, say: Callable[[str], None]) -> Iterator[Database]:
    """A database whose tables are made. An embedded server is stopped by the last process that uses it."""
    with reach_database(settings, say) as database:
        with _told_in_one_line(database.dsn), _connected(database.dsn) as connection:
            check_writable(connection, _OWN_SCHEMAS)
            refuse_old_primary(connection, settings)
        with _told_in_one_line(database.dsn):
            create_tables(database.dsn, say, settings.rebuild)
        yield database


@contextmanager
def reach_database(settings: Settings, say: Callable[[str], None]) -> Iterator[Database]:
    """The same as it stands: nothing is made in it, and no fold is needed to look at it."""
    with ExitStack() as stack:
        if settings.database_url:
            database = _given(settings.database_url)
        else:
            _forget_libpq_variables()
            root = settings.data_folder / "postgres"
            server = stack.enter_context(EmbeddedPostgres(root, progress=say))
            stack.enter_context(kept_running(server))
            database = _embedded(server)
        yield database


def _forget_libpq_variables() -> None:
    """The embedded server is reached in one way, which variables meant for other servers must not change."""
    for name in [name for name in os.environ if name.startswith("PG")]:
        del os.environ[name]


def refuse_old_primary(connection: psycopg.Connection, settings: Settings) -> None:
    """A server that another has replaced may lack what was acknowledged since: nothing is written there."""
    try:
        Timelines(timelines_folder(settings.data_folder)).check_at_start(connection)
    except StalePrimary as error:
        raise DatabaseUnusable(f"{PREFIX}DATABASE_URL: {error}") from None


def create_tables(
    dsn: str, say: Callable[[str], None] = lambda _: None, limits: RebuildLimits | None = None
) -> None:
    """The log and every read table. Any number of processes may call this at once."""
    create_schema(dsn)
    build_read_tables(dsn, PROJECTIONS, say, limits)


def _given(dsn: str) -> Database:
    with _told_in_one_line(dsn), _connected(dsn) as connection:
        check_readable(connection)
        parts, major = connection.info, connection.info.server_version // 10_000
        where = f"PostgreSQL {major} at {parts.host or 'localhost'}:{parts.port}, database {parts.dbname}"
    return Database(dsn, where)


def _connected(dsn: str) -> psycopg.Connection:
    parsed_dsn(dsn)
    return connect_blocking(dsn, connect_timeout=CONNECT_SECONDS_MAX)


@contextmanager
def _told_in_one_line(dsn: str) -> Iterator[None]:
    try:
        yield
    except (DsnMalformed, ServerUnfit, SchemaTooNew) as error:
        raise DatabaseUnusable(f"{PREFIX}DATABASE_URL: {error}") from None
    except (psycopg.Error, PersistenceError, UnicodeError) as error:
        raise DatabaseUnusable(f"{PREFIX}DATABASE_URL: {_in_one_line(error, dsn)}") from None


def _in_one_line(error: Exception, dsn: str) -> str:
    """Of several hosts each has its lines."""
    lines = [line.strip(" -\t") for line in without_dsn_secrets(str(error), dsn).splitlines()]
    return "; ".join(line for line in lines if line)[:REASON_LETTERS_MAX] or type(error).__name__


def _embedded(server: EmbeddedPostgres) -> Database:
    with connect_blocking(server.dsn()) as connection:
        connection.execute("SELECT pg_advisory_lock(1)")
        known = connection.execute(
            "SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE_NAME,)
        ).fetchone()
        if not known:
            connection.execute(f"CREATE DATABASE {DATABASE_NAME}".encode())
    return Database(server.dsn(DATABASE_NAME), f"embedded PostgreSQL {server.version} in {server.root}")
