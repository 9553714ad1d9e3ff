"""Opens what a verb works on: the database there is, beside a server that may be running on it."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime

from psycopg_pool import AsyncConnectionPool

from huajuan.event_store.after_commit import after_commit
from huajuan.event_store.store import EventStore
from huajuan.postgres.pool import open_pool
from huajuan.postgres.timelines import Timelines, timelines_folder
from huajuan.server.announce import say
from huajuan.server.database import Database, DatabaseUnusable, open_database, reach_database
from huajuan.settings import Settings

CONNECTIONS_MAX = 2


@contextmanager
def database_there_is(settings: Settings, *, as_it_stands: bool = False) -> Iterator[Database]:
    """Raises `DatabaseUnusable` where nobody has served yet: only `serve` makes a database from nothing.

    Read tables are built where they are missing, unless it is wanted `as_it_stands`.
    """
    root = settings.data_folder / "postgres"
    if not settings.database_url and not root.exists():
        raise DatabaseUnusable(f"there is no database in {settings.data_folder}; `huajuan serve` makes one")
    opened = (reach_database if as_it_stands else open_database)(settings, say)
    database = opened.__enter__()
    try:
        yield database
    except BaseException as error:
        if not opened.__exit__(type(error), error, error.__traceback__):
            raise
    else:
        # What was done is done: that something could not be closed does not make it a failure.
        with after_commit("close the database"):
            opened.__exit__(None, None, None)


@asynccontextmanager
async def opened_pool(settings: Settings, dsn: str) -> AsyncIterator[AsyncConnectionPool]:
    seconds = settings.statement_seconds_max
    async with open_pool(dsn, CONNECTIONS_MAX, statement_seconds_max=seconds) as pool:
        yield pool


@asynccontextmanager
async def opened_store(settings: Settings, dsn: str) -> AsyncIterator[EventStore]:
    """What the operator appends names no actor."""
    timelines = Timelines(timelines_folder(settings.data_folder))
    async with opened_pool(settings, dsn) as pool:
        store = EventStore(dsn, pool, lambda: datetime.now(UTC), settings.log, timelines)
        await store.open()
        try:
            yield store
        finally:
            with after_commit("close the event store"):
                await store.close()
