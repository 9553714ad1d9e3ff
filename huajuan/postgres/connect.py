"""Opens every connection to Postgres, with the session settings that the rest of the code relies on."""

import asyncio
from typing import Any

import psycopg
from psycopg import sql
from psycopg.sql import Composed

# Part of the start-up message, so that error messages of the server arrive in it, too.
PARAMETERS: dict[str, Any] = {"client_encoding": "UTF8"}
# Whatever the role, the database, the DSN or the environment set. A server too old for one of them lacks it.
# `row_security` is off as in pg_dump: a policy that would hide rows fails the query.
RELIED_ON = {
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
# One round trip. Every name is qualified, for the search path is not ours yet. The bound on a statement's time comes
# first, since it counts for each statement of a message apart. `synchronous_commit` is never weaker than `on`.
_PREPARE = sql.SQL(
    """
SET statement_timeout = 0;
SELECT pg_catalog.set_config(relied.name, relied.value, false) FROM (VALUES {}) AS relied(name, value)
 WHERE pg_catalog.current_setting(relied.name, true) IS NOT NULL;
SELECT pg_catalog.set_config('synchronous_commit', 'on', false)
 WHERE pg_catalog.current_setting('synchronous_commit') OPERATOR(pg_catalog.<>) 'remote_apply'
"""
).format(sql.SQL(", ").join(sql.SQL("({}, {})").format(*pair) for pair in RELIED_ON.items()))


async def connect(dsn: str, seconds_max: float, *session: str | Composed) -> psycopg.AsyncConnection:
    """Autocommitting; runs the `session` statements. Whatever goes wrong, nothing stays open."""
    async with asyncio.timeout(seconds_max):
        connection = await psycopg.AsyncConnection.connect(dsn, autocommit=True, **PARAMETERS)
        try:
            await prepare(connection)
            for statement in session:
                await connection.execute(statement.encode() if isinstance(statement, str) else statement)
        except BaseException:
            await connection.close()
            raise
    return connection


async def prepare(connection: psycopg.AsyncConnection) -> None:
    """For a connection that a pool has opened with `PARAMETERS`, before anything else runs on it."""
    await connection.execute(_PREPARE)


def connect_blocking(
    dsn: str, *session: str, autocommit: bool = True, **parameters: Any
) -> psycopg.Connection:
    """The same for code without an event loop; `parameters` are those of libpq, such as `connect_timeout`."""
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
    """As `prepare`."""
    connection.execute(_PREPARE)
