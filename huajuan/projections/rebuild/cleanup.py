"""Removes what a rebuild that ended badly, or ended well, has left: schemas nobody reads, and notes nobody ends."""

import asyncio
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

import msgspec
import psycopg
import structlog
from psycopg import sql
from psycopg.conninfo import make_conninfo

from huajuan.projections.engine.projection import Projection
from huajuan.projections.rebuild.connections import connection
from huajuan.projections.rebuild.errors import AlreadyRebuilding
from huajuan.projections.rebuild.limits import RebuildLimits
from huajuan.projections.rebuild.new_tables import new_schema, old_schema
from huajuan.projections.rebuild.records import alone, note_dead

_THERE_ARE = "SELECT nspname FROM pg_namespace WHERE nspname = ANY(%s)"
_NOT_ENDED = "SELECT DISTINCT unnest(projections) FROM operations.rebuilds WHERE outcome IS NULL"
_logger = structlog.get_logger(__name__)


async def keep_clearing_leftovers(
    dsn: str, projections: Sequence[Projection], limits: RebuildLimits, every_seconds: float
) -> None:
    """For ever, on a timer: whoever starts has just looked."""
    while True:
        await asyncio.sleep(every_seconds)
        try:
            await asyncio.to_thread(_clear, dsn, projections, limits)
        except psycopg.Error as error:
            _logger.warning("what rebuilds left is left for later", error=type(error).__name__)


def _clear(dsn: str, projections: Sequence[Projection], limits: RebuildLimits) -> None:
    """Nothing in it may take long: a service that stops waits for its threads."""
    seconds = max(1, round(limits.leftovers_seconds_max))
    bounded = make_conninfo(dsn, connect_timeout=seconds, tcp_user_timeout=seconds * 1000)
    with connection(bounded) as opened:
        opened.execute(f"SET statement_timeout = {seconds * 1000}".encode())
        drop_leftovers(opened, projections, limits)


def drop_leftovers(
    opened: psycopg.Connection, projections: Sequence[Projection], limits: RebuildLimits
) -> None:
    """Of tables that nobody rebuilds just now. Safe at any time; as a rule there are none.

    What somebody still reads is left for the next time, after one look.
    """
    once = msgspec.structs.replace(limits, drop_tries_max=1)
    for projection, schemas in _left(opened, projections):
        with suppress(AlreadyRebuilding), alone(opened, [projection]):
            note_dead(opened, [projection])
            if drop(opened, schemas, once):
                return


def _left(
    opened: psycopg.Connection, projections: Sequence[Projection]
) -> Iterator[tuple[Projection, list[str]]]:
    """Each projection of which there may be something, and which schemas those are."""
    names = {p.schema: [new_schema(p), old_schema(p)] for p in projections}
    found = opened.execute(_THERE_ARE, ([name for two in names.values() for name in two],)).fetchall()
    there_are = {schema for (schema,) in found}
    not_ended = {schema for (schema,) in opened.execute(_NOT_ENDED).fetchall()}
    for projection in projections:
        schemas = [name for name in names[projection.schema] if name in there_are]
        if schemas or projection.schema in not_ended:
            yield projection, schemas


def drop(opened: psycopg.Connection, schemas: Iterable[str], limits: RebuildLimits) -> list[str]:
    """Returns those that somebody still reads."""
    return [schema for schema in schemas if not _is_dropped(opened, schema, limits)]


def _is_dropped(opened: psycopg.Connection, schema: str, limits: RebuildLimits) -> bool:
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
