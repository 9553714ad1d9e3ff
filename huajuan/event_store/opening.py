"""Opens the event store with a connection pool of its own choosing, and closes both."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime

from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from huajuan.event_store.limits import LogLimits
from huajuan.event_store.store import EventStore

RECONNECT_SECONDS_MAX = 0.5


@asynccontextmanager
async def open_pool(
    dsn: str, connections_max: int, wait_seconds_max: float = 2, statement_seconds_max: float = 5
) -> AsyncIterator[AsyncConnectionPool]:
    """Autocommitting connections; a caller waits at most `wait_seconds_max` for one."""

    async def configure(connection: AsyncConnection) -> None:
        await connection.execute(f"SET statement_timeout = {round(statement_seconds_max * 1000)}".encode())

    pool = AsyncConnectionPool(
        dsn,
        min_size=1,
        max_size=connections_max,
        open=False,
        timeout=wait_seconds_max,
        # The pool backs off for minutes; giving up soon instead lets the next caller try at once.
        reconnect_timeout=RECONNECT_SECONDS_MAX,
        kwargs={"autocommit": True},
        configure=configure,
    )
    async with pool:
        yield pool


@asynccontextmanager
async def open_event_store(
    dsn: str,
    pool: AsyncConnectionPool,
    clock: Callable[[], datetime],
    limits: LogLimits | None = None,
) -> AsyncIterator[EventStore]:
    """An event store on a log whose schema is made; what waits to be appended is appended at the end."""
    store = EventStore(dsn, pool, clock, limits or LogLimits())
    await store.open()
    try:
        yield store
    finally:
        await store.close()
