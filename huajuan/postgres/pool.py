"""Opens connection pools, and replaces their connections after a failover."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

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
    """A pool of autocommitting connections. A caller waits at most `wait_seconds_max` for one."""

    async def configure(connection: AsyncConnection) -> None:
        await prepare(connection)
        await connection.execute(f"SET statement_timeout = {round(statement_seconds_max * 1000)}".encode())
        if timelines:
            await _check(connection, timelines)

    pool = AsyncConnectionPool(
        dsn,
        min_size=1,
        max_size=connections_max,
        open=False,
        timeout=wait_seconds_max,
        # The pool's own backoff takes minutes. With a short timeout the next caller tries again at once.
        reconnect_timeout=RECONNECT_SECONDS_MAX,
        kwargs={"autocommit": True, **PARAMETERS},
        configure=configure,
    )
    async with pool:
        with renewed_on_change(pool, timelines):
            yield pool


async def _check(connection: AsyncConnection, timelines: Timelines) -> None:
    """Closes a connection that fails the check: the pool would leave it open."""
    try:
        await timelines.check(connection)
    except BaseException:
        await connection.close()
        raise


@contextmanager
def renewed_on_change(pool: AsyncConnectionPool, timelines: Timelines | None) -> Iterator[None]:
    """Replaces the pool's connections after a failover, even while the old server still answers."""
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
