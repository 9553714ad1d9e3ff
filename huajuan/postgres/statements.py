"""Single statements that may be run twice: an outage of Postgres is waited for, within a bound."""

from collections.abc import Mapping
from typing import Any

from psycopg_pool import AsyncConnectionPool

from huajuan.postgres.query_batching import SharedReads
from huajuan.postgres.retry import through_outages


class Statements:
    """Raises `LogUnavailable` when Postgres stays away for longer than `outage_seconds_max`."""

    def __init__(
        self, pool: AsyncConnectionPool, outage_seconds_max: float, reads: SharedReads | None = None
    ) -> None:
        self._pool = pool
        self._reads = reads or SharedReads(pool)
        self._outage_seconds_max = outage_seconds_max

    async def run(self, statement: str, values: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """The rows it gives, if it gives any."""
        return await through_outages(lambda: self._run(statement, values), self._outage_seconds_max)

    async def look(self, statement: str, values: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """The rows of a SELECT that is answered at once, sent together with others."""
        text = statement.encode()
        return await through_outages(lambda: self._reads.run(text, values), self._outage_seconds_max)

    async def _run(self, statement: str, values: Mapping[str, Any] | None) -> list[tuple[Any, ...]]:
        async with self._pool.connection() as connection:
            cursor = await connection.execute(statement.encode(), values, prepare=True, binary=True)
            return await cursor.fetchall() if cursor.description else []
