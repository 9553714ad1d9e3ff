"""The database: the one a DSN names, or an embedded server in the data folder."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import psycopg

from huajuan.embedded_postgres import EmbeddedPostgres
from huajuan.event_store.errors import StalePrimary
from huajuan.event_store.schema import create_schema
from huajuan.event_store.timelines import Timelines, timelines_folder
from huajuan.projections.registry import PROJECTIONS
from huajuan.rebuilding.building import build_read_tables
from huajuan.rebuilding.limits import RebuildLimits
from huajuan.redaction import DsnMalformed, parsed_dsn, without_dsn_secrets
from huajuan.serving.database_watch import kept_running
from huajuan.settings import PREFIX, Settings

OLDEST_MAJOR = 14
CONNECT_SECONDS_MAX = 10
DATABASE_NAME = "huajuan"


class DatabaseUnusable(Exception):
    """The database cannot be reached, or is too old; the message says which."""


@dataclass(frozen=True)
class Database:
    """Where it is, and how to say so without a password."""

    dsn: str
    description: str


@contextmanager
def open_database(settings: Settings, say: Callable[[str], None]) -> Iterator[Database]:
    """A database whose tables are made. An embedded server is stopped by the last process that uses it."""
    with reach_database(settings, say) as database:
        refuse_old_primary(database.dsn, settings)
        create_tables(database.dsn, say, settings.rebuild)
        yield database


@contextmanager
def reach_database(settings: Settings, say: Callable[[str], None]) -> Iterator[Database]:
    """The same as it stands: nothing is made in it, and no fold is needed to look at it."""
    with ExitStack() as stack:
        if settings.database_url:
            database = _given(settings.database_url)
        else:
            root = settings.data_folder / "postgres"
            server = stack.enter_context(EmbeddedPostgres(root, progress=say))
            stack.enter_context(kept_running(server))
            database = _embedded(server)
        yield database


def refuse_old_primary(dsn: str, settings: Settings) -> None:
    """A server that another has replaced may lack what was acknowledged since: nothing is written there."""
    with psycopg.connect(dsn, autocommit=True, connect_timeout=CONNECT_SECONDS_MAX) as connection:
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
    try:
        parsed_dsn(dsn)
        with psycopg.connect(dsn, connect_timeout=CONNECT_SECONDS_MAX) as connection:
            major = connection.info.server_version // 10_000
            parts = connection.info
            where = f"PostgreSQL {major} at {parts.host or 'localhost'}:{parts.port}, database {parts.dbname}"
    except DsnMalformed as error:
        raise DatabaseUnusable(f"{PREFIX}DATABASE_URL: {error}") from None
    except (psycopg.OperationalError, psycopg.ProgrammingError) as error:
        reason = without_dsn_secrets(str(error).strip().splitlines()[0], dsn)
        raise DatabaseUnusable(f"{PREFIX}DATABASE_URL: {reason}") from None
    if major < OLDEST_MAJOR:
        raise DatabaseUnusable(
            f"{PREFIX}DATABASE_URL: PostgreSQL {OLDEST_MAJOR} or newer is needed, this is {major}"
        )
    return Database(dsn, where)


def _embedded(server: EmbeddedPostgres) -> Database:
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(1)")
        known = connection.execute(
            "SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE_NAME,)
        ).fetchone()
        if not known:
            connection.execute(f"CREATE DATABASE {DATABASE_NAME}".encode())
    return Database(server.dsn(DATABASE_NAME), f"embedded PostgreSQL {server.version} in {server.root}")
