"""Opens the existing database for a command, while servers may be using it."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime

import psycopg
from psycopg_pool import AsyncConnectionPool

from huajuan.audit.connection import open_read_only
from huajuan.event_store.store import EventStore, after_commit
from huajuan.postgres.pool import open_pool
from huajuan.postgres.timelines import Timelines, timelines_folder
from huajuan.server.database import Database, DatabaseUnusable, open_database, reach_database
from huajuan.server.limits import limits_of
from huajuan.server.listener import print_status
from huajuan.settings import Settings

CONNECTIONS_MAX = 2


@contextmanager
def existing_database(settings: Settings, *, build_tables: bool = True) -> Iterator[Database]:
    """Builds missing read tables, if `build_tables`. Only `serve` creates a database.

    Raises `DatabaseUnusable` if there is none.
    """
    root = settings.data_folder / "postgres"
    if not settings.database_url and not root.exists():
        raise DatabaseUnusable(f"there is no database in {settings.data_folder}; `huajuan serve` creates one")
    opened = (open_database if build_tables else reach_database)(settings, print_status)
    database = opened.__enter__()
    try:
        yield database
    except BaseException as error:
        if not opened.__exit__(type(error), error, error.__traceback__):
            raise
    else:
        # The work is committed: an error on close does not make it a failure.
        with after_commit("close the database"):
            opened.__exit__(None, None, None)


@contextmanager
def open_log(settings: Settings) -> Iterator[psycopg.Connection]:
    """A read-only connection to the log, with or without a running service. Read tables are not needed."""
    with (
        existing_database(settings, build_tables=False) as database,
        open_read_only(database.dsn) as connection,
    ):
        yield connection


@asynccontextmanager
async def connect_pool(settings: Settings, dsn: str) -> AsyncIterator[AsyncConnectionPool]:
    seconds = settings.statement_seconds_max
    async with open_pool(dsn, CONNECTIONS_MAX, statement_seconds_max=seconds) as pool:
        yield pool


@asynccontextmanager
async def open_store(settings: Settings, dsn: str) -> AsyncIterator[EventStore]:
    """The events that it appends have no actor."""
    timelines = Timelines(timelines_folder(settings.data_folder))
    async with connect_pool(settings, dsn) as pool:
        store = EventStore(dsn, pool, lambda: datetime.now(UTC), limits_of(settings).event_store, timelines)
        await store.open()
        try:
            yield store
        finally:
            with after_commit("close the event store"):
                await store.close()
