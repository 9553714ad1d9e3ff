"""A read table, described by the struct of its rows: its DDL and every statement the engine runs on it."""

from collections.abc import Sequence
from datetime import date, datetime
from types import NoneType
from typing import Any, Generic, TypeVar, get_args, get_type_hints
from uuid import UUID

import msgspec

R = TypeVar("R", bound=msgspec.Struct)
_TYPES = {UUID: "uuid", int: "int8", str: "text", date: "date", datetime: "timestamptz", bool: "bool"}


class Table(Generic[R]):
    """Rows are `row` structs, found by the field `key`; the name is looked up on the search path.

    `indexes` are the bodies of index definitions, `(column, …) WHERE …` or `UNIQUE (…)`.
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
        # The same in two steps, for those who fill it first.
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
    """Numbered, so that a name says nothing that can become untrue."""
    unique = "UNIQUE " if body.startswith("UNIQUE ") else ""
    return f"CREATE {unique}INDEX IF NOT EXISTS {name}_{number} ON {name} {body.removeprefix(unique)}"


def _statements(
    name: str, columns: Sequence[str], types: Sequence[str], key: str
) -> tuple[str, str, str, str]:
    """Set statements on arrays, one array a column: select, insert, update, delete."""
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
