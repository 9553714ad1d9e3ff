"""Opens the event store with a connection pool of its own choosing, and closes both."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime

from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from huajuan.event_store.limits import LogLimits
from huajuan.event_store.store import EventStore
from huajuan.postgres.connect import PARAMETERS, prepare
from huajuan.postgres.timelines import Timelines

RECONNECT_SECONDS_MAX = 0.5


@asynccontextmanager
async def open_pool(
    dsn: str,
    connections_max: int,
    wait_seconds_max: float = 2,
    statement_seconds_max: float = 5,
    timelines: Timelines | None = None,
) -> AsyncIterator[AsyncConnectionPool]:
    """Autocommitting connections; a caller waits at most `wait_seconds_max` for one."""

    async def configure(connection: AsyncConnection) -> None:
        await prepare(connection)
        await connection.execute(f"SET statement_timeout = {round(statement_seconds_max * 1000)}".encode())
        if timelines:
            await _checked(connection, timelines)

    pool = AsyncConnectionPool(
        dsn,
        min_size=1,
        max_size=connections_max,
        open=False,
        timeout=wait_seconds_max,
        # The pool backs off for minutes; giving up soon instead lets the next caller try at once.
        reconnect_timeout=RECONNECT_SECONDS_MAX,
        kwargs={"autocommit": True, **PARAMETERS},
        configure=configure,
    )
    async with pool:
        with renewed_on_change(pool, timelines):
            yield pool


async def _checked(connection: AsyncConnection, timelines: Timelines) -> None:
    """The pool leaves open what it cannot configure."""
    try:
        await timelines.check(connection)
    except BaseException:
        await connection.close()
        raise


@contextmanager
def renewed_on_change(pool: AsyncConnectionPool, timelines: Timelines | None) -> Iterator[None]:
    """Connections to a server that was replaced are given up, even while it still answers."""
    renewing: set[asyncio.Task[None]] = set()

    def renew() -> None:
        task = asyncio.get_running_loop().create_task(pool.drain(), name="renew connections")
        renewing.add(task)
        task.add_done_callback(renewing.discard)

    if timelines is None:
        yield
        return
    timelines.on_change.append(renew)
    try:
        yield
    finally:
        timelines.on_change.remove(renew)


@asynccontextmanager
async def open_event_store(
    dsn: str,
    pool: AsyncConnectionPool,
    clock: Callable[[], datetime],
    limits: LogLimits | None = None,
    timelines: Timelines | None = None,
) -> AsyncIterator[EventStore]:
    """An event store on a log whose schema is made; what waits to be appended is appended at the end."""
    store = EventStore(dsn, pool, clock, limits or LogLimits(), timelines)
    await store.open()
    try:
        yield store
    finally:
        await store.close()
