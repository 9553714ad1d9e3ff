"""Opens the existing database for a command, while servers may be using it.

The event store and the read tables take long to import, so only the commands that use them do so.
"""

from argparse import Namespace
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

import psycopg
import structlog
from psycopg_pool import AsyncConnectionPool

from huajuan.audit.connection import open_read_only
from huajuan.cli.arguments import is_by_id, unknown_id
from huajuan.postgres.connect import open_pool
from huajuan.postgres.statements import Statements
from huajuan.postgres.timelines import Timelines, timelines_folder
from huajuan.server.database import Database, DatabaseUnusable, open_database, print_status, reach_database
from huajuan.settings import Settings

if TYPE_CHECKING:
    from huajuan.event_store.store import EventStore

CONNECTIONS_MAX = 2
_logger = structlog.get_logger(__name__)


@contextmanager
def existing_database(settings: Settings, *, build_tables: bool = True) -> Iterator[Database]:
    """Builds missing read tables, if `build_tables`. Only `serve` creates a database.

    Raises `DatabaseUnusable` if there is none.
    """
    if not settings.database_url and not (settings.data_folder / "postgres").exists():
        raise DatabaseUnusable(f"there is no database in {settings.data_folder}; `huajuan serve` creates one")
    is_done = False
    try:
        with (open_database if build_tables else reach_database)(settings, print_status) as database:
            yield database
            is_done = True
    except Exception as error:
        if not is_done:
            raise
        # The work is committed: an error on close does not make it a failure.
        _logger.warning("database not closed", error=type(error).__name__, exc_info=error)


@contextmanager
def open_log(settings: Settings) -> Iterator[psycopg.Connection]:
    """A read-only connection to the log, with or without a running service. Read tables are not needed."""
    with (
        existing_database(settings, build_tables=False) as database,
        open_read_only(database.dsn) as connection,
    ):
        yield connection


def _open_pool(settings: Settings, dsn: str) -> AbstractAsyncContextManager[AsyncConnectionPool]:
    return open_pool(dsn, CONNECTIONS_MAX, statement_seconds_max=settings.statement_seconds_max)


@asynccontextmanager
async def open_statements(settings: Settings, dsn: str) -> AsyncIterator[Statements]:
    async with _open_pool(settings, dsn) as pool:
        yield Statements(pool, settings.log_reconnect_seconds_max)


@asynccontextmanager
async def open_store(settings: Settings, dsn: str) -> "AsyncIterator[tuple[EventStore, Statements]]":
    """The events that the store appends have no actor."""
    from huajuan.event_store.store import EventStore, after_commit
    from huajuan.server.limits import limits_of

    timelines = Timelines(timelines_folder(settings.data_folder))
    async with _open_pool(settings, dsn) as pool:
        store = EventStore(dsn, pool, lambda: datetime.now(UTC), limits_of(settings).event_store, timelines)
        await store.open()
        try:
            yield store, Statements(pool, settings.log_reconnect_seconds_max)
        finally:
            with after_commit("close the event store"):
                await store.close()


def find_account_of(connection: psycopg.Connection, arguments: Namespace) -> UUID:
    """By username, by account id in the log, or by `--id`. Raises `OperatorError` if there is none."""
    from huajuan.audit.replay import account_by_registration, find_account

    if not is_by_id(arguments):
        return find_account(connection, arguments.name)
    if (found := account_by_registration(connection, arguments.id)) is None:
        raise unknown_id(arguments.id)
    return found
