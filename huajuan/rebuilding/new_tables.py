"""New tables in schemas of their own: made bare, filled by COPY, indexed at the end."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import psycopg
from psycopg import sql

from huajuan.event_store.reading import Recorded
from huajuan.projections.projection import NO_SKIPS, Projection, Skips
from huajuan.projections.table import Table
from huajuan.rebuilding.kept_rows import KeptRows, Work, Writing

CHUNK_ROWS = 5_000
STATISTICS_TARGET = 20


def new_schema(projection: Projection) -> str:
    return f"{projection.schema}_new"


def old_schema(projection: Projection) -> str:
    return f"{projection.schema}_old"


class NewTables:
    """`connection` autocommits and sees the new schemas alone. Each projection has a position of its own."""

    def __init__(
        self,
        connection: psycopg.Connection,
        projections: Sequence[Projection],
        rows_max: int,
        skips: Mapping[str, Skips],
    ) -> None:
        self._connection = connection
        self._kept = [KeptRows(p, rows_max, skips.get(p.schema, NO_SKIPS)) for p in projections]
        self.positions = {projection.schema: 0 for projection in projections}

    def make(self) -> None:
        for kept in self._kept:
            self._run("CREATE SCHEMA {}", new_schema(kept.projection))
        schemas = [sql.Identifier(new_schema(kept.projection)) for kept in self._kept]
        self._connection.execute(sql.SQL("SET search_path = {}").format(sql.SQL(", ").join(schemas)))
        for kept in self._kept:
            with self._connection.transaction():
                self._run("SET LOCAL search_path = {}", new_schema(kept.projection))
                self._connection.execute(kept.projection.table.ddl.encode())

    def fold(self, batch: Sequence[Recorded], end: int, bounds: Mapping[str, int]) -> None:
        """The events up to `end`; no projection goes beyond its own bound. Raises `FoldFailed`."""
        for kept, work in zip(self._kept, self._sorted(batch), strict=True):
            schema = kept.projection.schema
            after, upto = self.positions[schema], min(end, bounds[schema])
            self._fold(kept, _between(work, after, upto))
            self.positions[schema] = max(after, upto)

    def _sorted(self, batch: Sequence[Recorded]) -> list[Work]:
        """Each projection's own part, all of them in one pass."""
        parts: list[Work] = [[] for _ in self._kept]
        routes: defaultdict[type[Any], list[Any]] = defaultdict(list)
        for kept, part in zip(self._kept, parts, strict=True):
            for event_type, route in kept.routes.items():
                routes[event_type].append((part.append, route))
        for position, event in batch:
            for append, route in routes[type(event)]:
                append((route, event, position))
        return parts

    def _fold(self, kept: KeptRows, work: Work) -> None:
        if unknown := kept.unknown(work):
            kept.add_stored(self._load(kept.projection.table, unknown))
        kept.fold(work)
        self._write(kept.projection.table, kept.let_go())

    def write_all(self) -> None:
        """The tables show all that was folded."""
        for kept in self._kept:
            self._write(kept.projection.table, kept.all_changes())

    def analyze(self) -> None:
        """So that the planner knows them, roughly; the server itself soon looks closer."""
        self._connection.execute(f"SET default_statistics_target = {STATISTICS_TARGET}".encode())
        for kept in self._kept:
            self._run("ANALYZE {}", new_schema(kept.projection), kept.projection.table.name)

    def _run(self, statement: str, *name: str) -> None:
        self._connection.execute(sql.SQL(statement).format(sql.Identifier(*name)))

    def _load(self, table: Table[Any], keys: Iterable[Any]) -> dict[Any, tuple[Any, ...]]:
        rows = self._connection.execute(table.select.encode(), (list(keys),), binary=True)
        return {row[table.key_at]: row for row in rows}

    def _write(self, table: Table[Any], writing: Writing) -> None:
        if writing.new:
            self._copy(table, writing.new)
        for chunk in _chunks(writing.changed):
            columns = tuple(map(list, zip(*chunk, strict=True)))
            self._connection.execute(table.update.encode(), columns)
        for gone in _chunks(writing.gone):
            self._connection.execute(table.delete.encode(), (gone,))

    def _copy(self, table: Table[Any], rows: list[tuple[Any, ...]]) -> None:
        with self._connection.cursor() as cursor, cursor.copy(table.copy.encode()) as copy:
            copy.set_types(table.types)
            for row in rows:
                copy.write_row(row)


def _between(work: Work, after: int, upto: int) -> Work:
    if not work or (work[0][2] > after and work[-1][2] <= upto):
        return work
    return [one for one in work if after < one[2] <= upto]


def _chunks(rows: list[Any]) -> Iterable[list[Any]]:
    return (rows[start : start + CHUNK_ROWS] for start in range(0, len(rows), CHUNK_ROWS))
