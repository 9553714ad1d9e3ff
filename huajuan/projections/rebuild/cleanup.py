"""Removes the remains of ended and dead rebuilds: unneeded schemas, and records without an outcome."""

import asyncio
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

import msgspec
import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from huajuan.projections.engine.projection import Projection
from huajuan.projections.rebuild.errors import AlreadyRebuilding
from huajuan.projections.rebuild.new_tables import new_schema, old_schema
from huajuan.projections.rebuild.records import exclusive, mark_dead_rebuilds
from huajuan.projections.rebuild.session import RebuildLimits, connection

_EXISTING = "SELECT nspname FROM pg_namespace WHERE nspname = ANY(%s)"
_NOT_ENDED = "SELECT DISTINCT unnest(projections) FROM operations.rebuilds WHERE outcome IS NULL"


async def clean_up_rebuilds(dsn: str, projections: Sequence[Projection], limits: RebuildLimits) -> None:
    """To be called periodically, in a thread."""
    await asyncio.to_thread(_clean_up, dsn, projections, limits)


def _clean_up(dsn: str, projections: Sequence[Projection], limits: RebuildLimits) -> None:
    """Every step has a time limit, because a service that stops waits for its threads."""
    seconds = max(1, round(limits.leftovers_seconds_max))
    bounded = make_conninfo(dsn, connect_timeout=seconds, tcp_user_timeout=seconds * 1000)
    with connection(bounded) as opened:
        opened.execute(f"SET statement_timeout = {seconds * 1000}".encode())
        remove_remains(opened, projections, limits)


def remove_remains(
    opened: psycopg.Connection, projections: Sequence[Projection], limits: RebuildLimits
) -> None:
    """Skips tables that are being rebuilt, and stops at the first schema that is still being read."""
    once = msgspec.structs.replace(limits, drop_tries_max=1)
    for projection, schemas in _find_remains(opened, projections):
        with suppress(AlreadyRebuilding), exclusive(opened, [projection]):
            mark_dead_rebuilds(opened, [projection])
            if drop_schemas(opened, schemas, once):
                return


def _find_remains(
    opened: psycopg.Connection, projections: Sequence[Projection]
) -> Iterator[tuple[Projection, list[str]]]:
    """Projections that may have remains, and the schemas to drop."""
    names = {p.schema: [new_schema(p), old_schema(p)] for p in projections}
    found = opened.execute(_EXISTING, ([name for two in names.values() for name in two],)).fetchall()
    existing = {schema for (schema,) in found}
    not_ended = {schema for (schema,) in opened.execute(_NOT_ENDED).fetchall()}
    for projection in projections:
        schemas = [name for name in names[projection.schema] if name in existing]
        if schemas or projection.schema in not_ended:
            yield projection, schemas


def drop_schemas(opened: psycopg.Connection, schemas: Iterable[str], limits: RebuildLimits) -> list[str]:
    """Returns those that could not be dropped because they are being read."""
    return [schema for schema in schemas if not _drop(opened, schema, limits)]


def _drop(opened: psycopg.Connection, schema: str, limits: RebuildLimits) -> bool:
    statement = sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(schema))
    milliseconds = max(1, round(limits.drop_wait_seconds_max * 1000))
    for turn in range(limits.drop_tries_max):
        if turn:
            time.sleep(limits.drop_wait_seconds_max)
        with suppress(psycopg.errors.LockNotAvailable), opened.transaction():
            opened.execute(f"SET LOCAL lock_timeout = {milliseconds}".encode())
            opened.execute(statement)
            return True
    return False
