"""Removes what a rebuild that ended badly, or ended well, has left: schemas nobody reads."""

import time
from collections.abc import Iterable

import psycopg
from psycopg import sql

from huajuan.projections.projection import Projection
from huajuan.rebuilding.errors import AlreadyRebuilding
from huajuan.rebuilding.limits import RebuildLimits
from huajuan.rebuilding.new_tables import new_schema, old_schema
from huajuan.rebuilding.notes import alone

_THERE_ARE = "SELECT nspname FROM pg_namespace WHERE nspname = ANY(%s)"


def drop_leftovers(
    opened: psycopg.Connection, projections: Iterable[Projection], limits: RebuildLimits
) -> None:
    """Of tables that nobody rebuilds just now. Safe at any time; as a rule there are none."""
    by_schema = {name(p): p for p in projections for name in (new_schema, old_schema)}
    for (schema,) in opened.execute(_THERE_ARE, (list(by_schema),)).fetchall():
        try:
            with alone(opened, [by_schema[schema]]):
                drop(opened, [schema], limits)
        except AlreadyRebuilding:
            continue


def drop(opened: psycopg.Connection, schemas: Iterable[str], limits: RebuildLimits) -> None:
    """Waits in short turns for whoever still reads, so that nobody who comes later waits behind it."""
    milliseconds = round(limits.drop_wait_seconds_max * 1000)
    for schema in schemas:
        statement = sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(schema))
        for tries_left in reversed(range(limits.drop_tries_max)):
            try:
                with opened.transaction():
                    opened.execute(f"SET LOCAL lock_timeout = {milliseconds}".encode())
                    opened.execute(statement)
                break
            except psycopg.errors.LockNotAvailable:
                if not tries_left:
                    raise
                time.sleep(limits.drop_wait_seconds_max)
