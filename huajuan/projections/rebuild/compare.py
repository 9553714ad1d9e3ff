"""Compares old and new tables row by row, at the same position of the log."""

from typing import Any

import msgspec
import psycopg
from psycopg import sql

from huajuan.projections.engine.projection import Projection

# `*<>` compares the binary images of two rows.
_COMPARE = """
SELECT count(*) OVER (), coalesce(o.{key}, n.{key})::text,
       CASE WHEN n.{key} IS NULL THEN 'only in the old table'
            WHEN o.{key} IS NULL THEN 'only in the new table' ELSE 'changed' END
  FROM {old} o FULL JOIN {new} n ON o.{key} = n.{key}
 WHERE o.{key} IS NULL OR n.{key} IS NULL OR o *<> n
 ORDER BY 2 LIMIT %s
"""


# The columns of a table, or NULL if there is no table.
_SHAPE = """
SELECT array_agg(attname::text || ' ' || format_type(atttypid, atttypmod) || ' ' || attnotnull
                 ORDER BY attnum)
  FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped
"""


class Differences(msgspec.Struct, frozen=True):
    """The number of rows that differ, and the first of them by key, with the kind of difference.

    `misshapen` is true if the old table was missing or had other columns, so that no rows were compared.
    """

    table: str
    rows: int
    first: dict[str, str]
    misshapen: bool = False

    def __bool__(self) -> bool:
        return bool(self.rows or self.misshapen)


def compare_tables(
    connection: psycopg.Connection, projection: Projection, old: str, new: str, shown_max: int
) -> Differences:
    """Compares the table in the schemas `old` and `new` in the snapshot of the connection's transaction."""
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
