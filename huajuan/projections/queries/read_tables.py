"""Asks the read tables: one SELECT a question, asked again while Postgres is away."""

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from huajuan.postgres.statements import Statements

R = TypeVar("R", bound=msgspec.Struct)


class ReadTables:
    """Raises `LogUnavailable` when Postgres stays away."""

    def __init__(self, statements: Statements) -> None:
        self._statements = statements

    async def all(self, row: type[R], query: str, values: Mapping[str, Any] | None = None) -> list[R]:
        """The query's columns are the fields of `row`, in order."""
        return [row(*columns) for columns in await self._statements.run(query, values)]

    async def quickly(self, row: type[R], query: str, values: Mapping[str, Any]) -> list[R]:
        """The same for what an index answers at once: such questions are asked together with others'."""
        return [row(*columns) for columns in await self._statements.look(query, values)]

    async def one(self, row: type[R], query: str, values: Mapping[str, Any]) -> R | None:
        """Found by its key."""
        rows = await self.quickly(row, query, values)
        return rows[0] if rows else None
