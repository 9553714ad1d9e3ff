"""Compares the old tables with the new ones, row by row, as both stood at one position."""

from typing import Any

import msgspec
import psycopg
from psycopg import sql

from huajuan.projections.engine.projection import Projection

# `*<>` compares the bytes of two rows, not what they mean.
_COMPARE = """
SELECT count(*) OVER (), coalesce(o.{key}, n.{key})::text,
       CASE WHEN n.{key} IS NULL THEN 'only in the old table'
            WHEN o.{key} IS NULL THEN 'only in the new table' ELSE 'changed' END
  FROM {old} o FULL JOIN {new} n ON o.{key} = n.{key}
 WHERE o.{key} IS NULL OR n.{key} IS NULL OR o *<> n
 ORDER BY 2 LIMIT %s
"""


# A table's columns as they were made, or nothing where there is no table.
_SHAPE = """
SELECT array_agg(attname::text || ' ' || format_type(atttypid, atttypmod) || ' ' || attnotnull ORDER BY attnum)
  FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped
"""


class Differences(msgspec.Struct, frozen=True):
    """How many rows of a table differ, and by their keys the first of them.

    A table that was `misshapen`, having other columns or being gone, had no rows to be compared.
    """

    table: str
    rows: int
    first: dict[str, str]
    misshapen: bool = False

    def __bool__(self) -> bool:
        return bool(self.rows or self.misshapen)


def compare(
    connection: psycopg.Connection, projection: Projection, old: str, new: str, shown_max: int
) -> Differences:
    """The table in the schemas `old` and `new`, as the connection's transaction sees them."""
    table = projection.table
    if _shape(connection, old, table.name) != _shape(connection, new, table.name):
        return Differences(projection.name, 0, {}, misshapen=True)
    query = sql.SQL(_COMPARE).format(
        key=sql.Identifier(table.key),
        old=sql.Identifier(old, table.name),
        new=sql.Identifier(new, table.name),
    )
    found: list[Any] = connection.execute(query, (shown_max,)).fetchall()
    return Differences(projection.name, found[0][0] if found else 0, {row[1]: row[2] for row in found})


def _shape(connection: psycopg.Connection, schema: str, table: str) -> Any:
    return connection.execute(_SHAPE, (f"{schema}.{table}",)).fetchone()
