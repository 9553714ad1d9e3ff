"""Lists the accounts that ever had the admin role, under a lock that one caller holds at a time."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import psycopg

from huajuan.event_store.errors import LogBusy, LogUnavailable
from huajuan.postgres.connect import connect
from huajuan.postgres.retry import OUTAGES

_LOCK = "SELECT pg_advisory_lock(hashtext('huajuan admins'))"
# In the words of the index that the log's schema has for it.
_EVER_ADMINS = b"""
SELECT (convert_from(state, 'UTF8')::json->>'account_id')::uuid FROM log.huajuan_events WHERE topic = 'admin.granted'
"""


@asynccontextmanager
async def admins_alone(dsn: str, seconds_max: float) -> AsyncIterator[list[UUID]]:
    """The accounts that were ever made admins. Any other process that asks waits until this ends.

    Raises `LogBusy` when it had to wait for too long, and `LogUnavailable`.
    """
    connection = await _locked(dsn, seconds_max)
    try:
        yield await _ever_admins(connection)
    finally:
        # The lock ends with the connection. What was done under it stands, however the connection ends.
        await connection.close()


async def _locked(dsn: str, seconds_max: float) -> psycopg.AsyncConnection:
    timeout = f"SET statement_timeout = {round(seconds_max * 1000)}"
    try:
        return await connect(dsn, 2 * seconds_max, timeout, _LOCK)
    except psycopg.errors.QueryCanceled as error:
        raise LogBusy from error
    except OUTAGES as error:
        raise LogUnavailable from error


async def _ever_admins(connection: psycopg.AsyncConnection) -> list[UUID]:
    try:
        return [row[0] for row in await (await connection.execute(_EVER_ADMINS)).fetchall()]
    except psycopg.errors.QueryCanceled as error:
        raise LogBusy from error
    except OUTAGES as error:
        raise LogUnavailable from error
