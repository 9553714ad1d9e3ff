"""Asks the read tables: one SELECT a question, asked again while Postgres is away."""

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from psycopg_pool import AsyncConnectionPool

from huajuan.event_store.outages import through_outages

R = TypeVar("R", bound=msgspec.Struct)


class ReadTables:
    """Raises `LogUnavailable` when Postgres stays away for longer than `seconds_max`."""

    def __init__(self, pool: AsyncConnectionPool, seconds_max: float) -> None:
        self._pool = pool
        self._seconds_max = seconds_max

    async def all(self, row: type[R], query: str, values: Mapping[str, Any] | None = None) -> list[R]:
        """The query's columns are the fields of `row`, in order."""
        return [
            row(*columns)
            for columns in await through_outages(lambda: self._rows(query, values), self._seconds_max)
        ]

    async def one(self, row: type[R], query: str, values: Mapping[str, Any] | None = None) -> R | None:
        rows = await self.all(row, query, values)
        return rows[0] if rows else None

    async def _rows(self, query: str, values: Mapping[str, Any] | None) -> list[tuple[Any, ...]]:
        async with self._pool.connection() as connection:
            cursor = await connection.execute(query.encode(), values, prepare=True, binary=True)
            return await cursor.fetchall()
