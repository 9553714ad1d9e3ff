"""New tables of a rebuild in schemas of their own: created without keys, filled by COPY, then indexed."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import psycopg
from msgspec.structs import astuple
from psycopg import sql

from huajuan.projections.engine.projection import NO_SKIPS, Projection, Skips
from huajuan.projections.engine.table import Table
from huajuan.projections.rebuild.log_pages import DecodedEvent
from huajuan.projections.rebuild.row_cache import RowCache, RowChanges, Work

CHUNK_ROWS = 5_000


def new_schema(projection: Projection) -> str:
    return f"{projection.schema}_new"


def old_schema(projection: Projection) -> str:
    return f"{projection.schema}_old"


class NewTables:
    """`connection` autocommits, with the new schemas as search path. Each table has its own position."""

    def __init__(
        self,
        connection: psycopg.Connection,
        projections: Sequence[Projection],
        rows_max: int,
        skips: Mapping[str, Skips],
    ) -> None:
        self._connection = connection
        self._caches = [RowCache(p, rows_max, skips.get(p.schema, NO_SKIPS)) for p in projections]
        self.positions = {projection.schema: 0 for projection in projections}
        self._unkeyed = list(projections)

    def create(self) -> None:
        for cache in self._caches:
            self._run("CREATE SCHEMA {}", new_schema(cache.projection))
        schemas = [sql.Identifier(new_schema(cache.projection)) for cache in self._caches]
        self._connection.execute(sql.SQL("SET search_path = {}").format(sql.SQL(", ").join(schemas)))
        for cache in self._caches:
            with self._connection.transaction():
                self._run("SET LOCAL search_path = {}", new_schema(cache.projection))
                self._connection.execute(cache.projection.table.bare_ddl.encode())

    def fold(self, batch: Sequence[DecodedEvent], end: int, bounds: Mapping[str, int]) -> None:
        """The events up to `end`, for each table only up to its bound. Raises `FoldFailed`."""
        for cache, work in zip(self._caches, self._split(batch), strict=True):
            schema = cache.projection.schema
            after, upto = self.positions[schema], min(end, bounds[schema])
            self._fold(cache, _between(work, after, upto))
            self.positions[schema] = max(after, upto)

    def _split(self, batch: Sequence[DecodedEvent]) -> list[Work]:
        """The work of each table, found in one pass over the batch."""
        works: list[Work] = [[] for _ in self._caches]
        routes: defaultdict[type[Any], list[Any]] = defaultdict(list)
        for cache, work in zip(self._caches, works, strict=True):
            for event_type, route in cache.routes.items():
                routes[event_type].append((work.append, *route))
        for position, event_type, event in batch:
            stream = event.originator_id.int
            for append, key, fold, is_first in routes[event_type]:
                append((key(event, position) if key else stream, fold, event, position, is_first))
        return works

    def _fold(self, cache: RowCache, work: Work) -> None:
        if missing := cache.missing_keys(work):
            self._add_key(cache.projection)
            cache.add_stored(self._load(cache.projection.table, missing))
        cache.fold(work)
        self._write(cache.projection.table, cache.evict())

    def _add_key(self, projection: Projection) -> None:
        """Adds the primary key, if it is not there yet, so that rows can be found."""
        if projection in self._unkeyed:
            self._unkeyed.remove(projection)
            self._connection.execute(projection.table.key_ddl.encode())

    def take_unkeyed(self) -> list[Projection]:
        """Those without a primary key; the caller adds it. Adding it to a full table is the fastest."""
        unkeyed, self._unkeyed = self._unkeyed, []
        return unkeyed

    def write_all(self) -> None:
        """Writes all cached changes."""
        for cache in self._caches:
            self._write(cache.projection.table, cache.flush())

    def _run(self, statement: str, *name: str) -> None:
        self._connection.execute(sql.SQL(statement).format(sql.Identifier(*name)))

    def _load(self, table: Table[Any], keys: Iterable[Any]) -> dict[Any, tuple[Any, ...]]:
        rows = self._connection.execute(table.select.encode(), (list(keys),), binary=True)
        return {row[table.key_at]: row for row in rows}

    def _write(self, table: Table[Any], changes: RowChanges) -> None:
        if changes.new:
            self._copy(table, changes.new)
        for rows in _chunks(changes.changed):
            columns = tuple(map(list, zip(*map(astuple, rows), strict=True)))
            self._connection.execute(table.update.encode(), columns)
        for keys in _chunks(changes.deleted):
            self._connection.execute(table.delete.encode(), (keys,))

    def _copy(self, table: Table[Any], rows: list[Any]) -> None:
        with self._connection.cursor() as cursor, cursor.copy(table.copy.encode()) as copy:
            copy.set_types(table.types)
            for row in rows:
                copy.write_row(astuple(row))


def _between(work: Work, after: int, upto: int) -> Work:
    if not work or (work[0][3] > after and work[-1][3] <= upto):
        return work
    return [one for one in work if after < one[3] <= upto]


def _chunks(rows: list[Any]) -> Iterable[list[Any]]:
    return (rows[start : start + CHUNK_ROWS] for start in range(0, len(rows), CHUNK_ROWS))
