"""Removes what a rebuild that ended badly, or ended well, has left: schemas nobody reads."""

import time
from collections.abc import Iterable

import psycopg
from psycopg import sql

from huajuan.projections.projection import Projection
from huajuan.rebuilding.connections import connection
from huajuan.rebuilding.errors import AlreadyRebuilding
from huajuan.rebuilding.limits import RebuildLimits
from huajuan.rebuilding.new_tables import new_schema, old_schema
from huajuan.rebuilding.notes import alone


def drop_leftovers(dsn: str, projections: Iterable[Projection], limits: RebuildLimits) -> None:
    """Of tables that nobody rebuilds just now. Safe at any time."""
    with connection(dsn) as opened:
        for projection in projections:
            try:
                with alone(opened, [projection]):
                    drop(opened, [new_schema(projection), old_schema(projection)], limits)
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
