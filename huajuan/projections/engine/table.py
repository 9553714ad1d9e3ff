"""Describes a read table by the struct of its rows: DDL, the statements of the engine, and queries."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from types import NoneType
from typing import Any, Generic, TypeVar, get_args, get_type_hints
from uuid import UUID

import msgspec

from huajuan.postgres.statements import Statements

R = TypeVar("R", bound=msgspec.Struct)
_TYPES = {UUID: "uuid", int: "int8", str: "text", date: "date", datetime: "timestamptz", bool: "bool"}


class Table(Generic[R]):
    """Rows are `row` structs with the primary key `key`. The search path must contain the table's schema.

    `indexes` are the bodies of index definitions: `(column, …) WHERE …` or `UNIQUE (…)`.
    """

    def __init__(self, name: str, row: type[R], key: str, indexes: Sequence[str] = ()) -> None:
        self.name = name
        self.row = row
        self.key = key
        self.columns = row.__struct_fields__
        self.key_at = self.columns.index(key)
        self.account_at = self.columns.index("account_id") if "account_id" in self.columns else None
        self.key_type = get_type_hints(row)[key]
        self.types = [_postgres_type(hint) for hint in get_type_hints(row).values()]
        columns = ", ".join(f"{column} {_column_type(hint)}" for column, hint in get_type_hints(row).items())
        self.ddl = f"CREATE TABLE IF NOT EXISTS {name} ({columns}, PRIMARY KEY ({key}))"
        # The same in two steps: a rebuild fills the table before it adds the key.
        self.bare_ddl, self.key_ddl = (
            f"CREATE TABLE {name} ({columns})",
            f"ALTER TABLE {name} ADD PRIMARY KEY ({key})",
        )
        self.index_ddl = [_index_ddl(name, number, body) for number, body in enumerate(indexes, 1)]
        self.select, self.insert, self.update, self.delete = _statements(name, self.columns, self.types, key)
        self.copy = f"COPY {name} ({', '.join(self.columns)}) FROM STDIN (FORMAT BINARY)"


def _postgres_type(hint: Any) -> str:
    plain = [part for part in get_args(hint) if part is not NoneType] or [hint]
    return _TYPES[plain[0]]


def _column_type(hint: Any) -> str:
    kind = _postgres_type(hint)
    collated = f'{kind} COLLATE "C"' if kind == "text" else kind
    return collated if NoneType in get_args(hint) else f"{collated} NOT NULL"


def _index_ddl(name: str, number: int, body: str) -> str:
    """Names are numbered, so that they stay right when the definition changes."""
    unique = "UNIQUE " if body.startswith("UNIQUE ") else ""
    return f"CREATE {unique}INDEX IF NOT EXISTS {name}_{number} ON {name} {body.removeprefix(unique)}"


def _statements(
    name: str, columns: Sequence[str], types: Sequence[str], key: str
) -> tuple[str, str, str, str]:
    """Select, insert, update and delete many rows at once, with one array a column as values."""
    arrays = ", ".join(f"%b::{kind}[]" for kind in types)
    key_array = f"%b::{types[list(columns).index(key)]}[]"
    names = ", ".join(columns)
    changes = ", ".join(f"{column} = new.{column}" for column in columns if column != key)
    return (
        f"SELECT {', '.join('t.' + c for c in columns)} FROM unnest({key_array}) AS wanted({key}) "
        f"JOIN {name} t ON t.{key} = wanted.{key}",
        f"INSERT INTO {name} ({names}) SELECT * FROM unnest({arrays})",
        f"UPDATE {name} t SET {changes} FROM unnest({arrays}) AS new({names}) WHERE t.{key} = new.{key}",
        f"DELETE FROM {name} t USING unnest({key_array}) AS gone({key}) WHERE t.{key} = gone.{key}",
    )


class ReadTables:
    """Runs queries on the read tables, one SELECT each, again after an outage.

    Raises `DatabaseUnavailable` when Postgres stays away.
    """

    def __init__(self, statements: Statements) -> None:
        self._statements = statements

    async def all(self, row: type[R], query: str, values: Mapping[str, Any] | None = None) -> list[R]:
        """The query's columns are the fields of `row`, in order."""
        return [row(*columns) for columns in await self._statements.run(query, values)]

    async def all_batched(self, row: type[R], query: str, values: Mapping[str, Any]) -> list[R]:
        """The same for fast index lookups: concurrent ones are sent in one round trip."""
        return [row(*columns) for columns in await self._statements.read(query, values)]

    async def one(self, row: type[R], query: str, values: Mapping[str, Any]) -> R | None:
        """A lookup by key."""
        rows = await self.all_batched(row, query, values)
        return rows[0] if rows else None
