"""Opens a connection of one's own, prepared for its work, within a bound."""

import asyncio

import psycopg
from psycopg.sql import Composed


async def connect(dsn: str, seconds_max: float, *session: str | Composed) -> psycopg.AsyncConnection:
    """Autocommitting; runs the `session` statements. Whatever goes wrong, nothing stays open."""
    async with asyncio.timeout(seconds_max):
        connection = await psycopg.AsyncConnection.connect(dsn, autocommit=True)
        try:
            for statement in session:
                await connection.execute(statement.encode() if isinstance(statement, str) else statement)
        except BaseException:
            await connection.close()
            raise
    return connection
