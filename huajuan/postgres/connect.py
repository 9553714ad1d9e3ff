"""Opens connections and pools with the session settings that the code relies on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from psycopg import AsyncConnection, sql
from psycopg.sql import Composed
from psycopg_pool import AsyncConnectionPool

from huajuan.postgres.timelines import Timelines

RECONNECT_SECONDS_MAX = 0.5
# In the startup message, so that errors during the startup have this encoding, too.
PARAMETERS: dict[str, Any] = {"client_encoding": "UTF8"}
# They override settings of the role, the database, the DSN and the environment. Older servers lack some of
# them. `row_security` is off as in pg_dump: a query fails instead of missing rows that a policy hides.
SESSION_SETTINGS = {
    "search_path": "pg_catalog",
    "standard_conforming_strings": "on",
    "timezone": "UTC",
    "datestyle": "ISO, MDY",
    "intervalstyle": "postgres",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "array_nulls": "on",
    "transform_null_equals": "off",
    "check_function_bodies": "on",
    "row_security": "off",
    "gin_fuzzy_search_limit": "0",
    "default_transaction_isolation": "read committed",
    "default_transaction_deferrable": "off",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "transaction_timeout": "0",
}
# One round trip. Names are qualified, because the search path is not set yet. `statement_timeout` comes
# first, because it applies to each statement of the message. `synchronous_commit` is never weaker than `on`.
_PREPARE = sql.SQL(
    """
SET statement_timeout = 0;
SELECT pg_catalog.set_config(relied.name, relied.value, false) FROM (VALUES {}) AS relied(name, value)
 WHERE pg_catalog.current_setting(relied.name, true) IS NOT NULL;
SELECT pg_catalog.set_config('synchronous_commit', 'on', false)
 WHERE pg_catalog.current_setting('synchronous_commit') OPERATOR(pg_catalog.<>) 'remote_apply'
"""
).format(sql.SQL(", ").join(sql.SQL("({}, {})").format(*pair) for pair in SESSION_SETTINGS.items()))


async def connect(
    dsn: str, seconds_max: float, *session: str | Composed, timelines: Timelines | None = None
) -> AsyncConnection:
    """An autocommitting connection on which the `session` statements were executed. Closed on any error."""
    async with asyncio.timeout(seconds_max):
        connection = await AsyncConnection.connect(dsn, autocommit=True, **PARAMETERS)
        await _prepare(connection, *session, timelines=timelines)
    return connection


async def _prepare(
    connection: AsyncConnection, *session: str | Composed, timelines: Timelines | None
) -> None:
    """Closes the connection on any error, because a pool would leave it open."""
    try:
        await connection.execute(_PREPARE)
        for statement in session:
            await connection.execute(statement.encode() if isinstance(statement, str) else statement)
        if timelines:
            await timelines.check(connection)
    except BaseException:
        await connection.close()
        raise


def connect_blocking(
    dsn: str, *session: str, autocommit: bool = True, **parameters: Any
) -> psycopg.Connection:
    """The same for code without an event loop. `parameters` are those of libpq, such as `connect_timeout`."""
    connection = psycopg.connect(dsn, autocommit=True, **{**PARAMETERS, **parameters})
    try:
        prepare_blocking(connection)
        for statement in session:
            connection.execute(statement.encode())
        connection.autocommit = autocommit
    except BaseException:
        connection.close()
        raise
    return connection


def prepare_blocking(connection: psycopg.Connection[Any]) -> None:
    """Sets the session settings of a connection that was opened with `PARAMETERS`."""
    connection.execute(_PREPARE)


@asynccontextmanager
async def open_pool(
    dsn: str,
    connections_max: int,
    wait_seconds_max: float = 2,
    statement_seconds_max: float = 5,
    timelines: Timelines | None = None,
) -> AsyncIterator[AsyncConnectionPool]:
    """A pool of autocommitting connections. A caller waits at most `wait_seconds_max` for one.

    After a failover its connections are replaced, even while the old server still answers.
    """
    limit = f"SET statement_timeout = {round(statement_seconds_max * 1000)}"
    pool = AsyncConnectionPool(
        dsn,
        min_size=1,
        max_size=connections_max,
        open=False,
        timeout=wait_seconds_max,
        # The pool's own backoff takes minutes. With a short timeout the next caller tries again at once.
        reconnect_timeout=RECONNECT_SECONDS_MAX,
        kwargs={"autocommit": True, **PARAMETERS},
        configure=lambda connection: _prepare(connection, limit, timelines=timelines),
    )
    renewals: set[asyncio.Task[None]] = set()

    def renew() -> None:
        task = asyncio.get_running_loop().create_task(pool.drain(), name="renew connections")
        renewals.add(task)
        task.add_done_callback(renewals.discard)

    listeners = timelines.on_change if timelines else []
    async with pool:
        listeners.append(renew)
        try:
            yield pool
        finally:
            listeners.remove(renew)
