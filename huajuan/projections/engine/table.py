"""Describes a read table by the struct of its rows: DDL, the statements of the engine, and queries."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from types import NoneType
from typing import Any, Generic, TypeVar, get_args, get_type_hints
from uuid import UUID

import msgspec

from huajuan.postgres.statements import Statements

R = TypeVar("R", bound=msgspec.Struct)
T = TypeVar("T")
_TYPES = {UUID: "uuid", int: "int8", str: "text", date: "date", datetime: "timestamptz", bool: "bool"}


class Table(Generic[R]):
    """Rows are `row` structs with the primary key `key`. The search path must contain the table's schema.

    `indexes` are the bodies of index definitions: `(column, …) WHERE …` or `UNIQUE (…)`. The statements
    select, insert, update and delete many rows at once, with one array a column as values.
    """

    def __init__(self, name: str, row: type[R], key: str, indexes: Sequence[str] = ()) -> None:
        hints = get_type_hints(row)
        self.name, self.row, self.key = name, row, key
        self.columns = columns = row.__struct_fields__
        self.key_at = columns.index(key)
        self.account_at = columns.index("account_id") if "account_id" in columns else None
        self.has_uuid_key = hints[key] is UUID
        self.types = [_postgres_type(hint) for hint in hints.values()]
        definitions = ", ".join(f"{column} {_column_type(hint)}" for column, hint in hints.items())
        self.ddl = f"CREATE TABLE IF NOT EXISTS {name} ({definitions}, PRIMARY KEY ({key}))"
        # The same in two steps: a rebuild fills the table before it adds the key.
        self.bare_ddl = f"CREATE TABLE {name} ({definitions})"
        self.key_ddl = f"ALTER TABLE {name} ADD PRIMARY KEY ({key})"
        self.index_ddl = [_index_ddl(name, number, body) for number, body in enumerate(indexes, 1)]
        names, keys = ", ".join(columns), f"unnest(%b::{self.types[self.key_at]}[])"
        arrays = ", ".join(f"%b::{kind}[]" for kind in self.types)
        changes = ", ".join(f"{column} = new.{column}" for column in columns if column != key)
        self.select = (
            f"SELECT {', '.join('t.' + column for column in columns)} FROM {keys} AS wanted({key}) "
            f"JOIN {name} t ON t.{key} = wanted.{key}"
        ).encode()
        self.insert = f"INSERT INTO {name} ({names}) SELECT * FROM unnest({arrays})".encode()
        self.update = (
            f"UPDATE {name} t SET {changes} FROM unnest({arrays}) AS new({names}) WHERE t.{key} = new.{key}"
        ).encode()
        self.delete = f"DELETE FROM {name} t USING {keys} AS gone({key}) WHERE t.{key} = gone.{key}".encode()
        self.copy = f"COPY {name} ({names}) FROM STDIN (FORMAT BINARY)".encode()


def arrays_of(rows: Iterable[tuple[Any, ...]]) -> tuple[list[Any], ...]:
    """The values of `Table.insert` and `Table.update`: one array a column."""
    return tuple(map(list, zip(*rows, strict=True)))


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


class ReadTables:
    """Runs queries on the read tables, one SELECT each, again after an outage.

    `make` gets the columns of a row, in order. Raises `DatabaseUnavailable` when Postgres stays away.
    """

    def __init__(self, statements: Statements) -> None:
        self._statements = statements

    async def all(
        self, make: Callable[..., T], query: str, values: Mapping[str, Any] | None = None
    ) -> list[T]:
        return [make(*columns) for columns in await self._statements.run(query, values)]

    async def all_batched(self, make: Callable[..., T], query: str, values: Mapping[str, Any]) -> list[T]:
        """The same for fast index lookups: concurrent ones are sent in one round trip."""
        return [make(*columns) for columns in await self._statements.read(query, values)]

    async def one(self, make: Callable[..., T], query: str, values: Mapping[str, Any]) -> T | None:
        """A lookup by key."""
        rows = await self.all_batched(make, query, values)
        return rows[0] if rows else None
