"""New tables in schemas of their own: made bare, filled by COPY, indexed at the end."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import psycopg
from msgspec.structs import astuple
from psycopg import sql

from huajuan.projections.engine.projection import NO_SKIPS, Projection, Skips
from huajuan.projections.engine.table import Table
from huajuan.projections.rebuild.decode import Read
from huajuan.projections.rebuild.row_cache import KeptRows, Work, Writing

CHUNK_ROWS = 5_000


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
        self._unkeyed = list(projections)

    def make(self) -> None:
        for kept in self._kept:
            self._run("CREATE SCHEMA {}", new_schema(kept.projection))
        schemas = [sql.Identifier(new_schema(kept.projection)) for kept in self._kept]
        self._connection.execute(sql.SQL("SET search_path = {}").format(sql.SQL(", ").join(schemas)))
        for kept in self._kept:
            with self._connection.transaction():
                self._run("SET LOCAL search_path = {}", new_schema(kept.projection))
                self._connection.execute(kept.projection.table.bare_ddl.encode())

    def fold(self, batch: Sequence[Read], end: int, bounds: Mapping[str, int]) -> None:
        """The events up to `end`; no projection goes beyond its own bound. Raises `FoldFailed`."""
        for kept, work in zip(self._kept, self._sorted(batch), strict=True):
            schema = kept.projection.schema
            after, upto = self.positions[schema], min(end, bounds[schema])
            self._fold(kept, _between(work, after, upto))
            self.positions[schema] = max(after, upto)

    def _sorted(self, batch: Sequence[Read]) -> list[Work]:
        """Each projection's own part, all of them in one pass."""
        parts: list[Work] = [[] for _ in self._kept]
        routes: defaultdict[type[Any], list[Any]] = defaultdict(list)
        for kept, part in zip(self._kept, parts, strict=True):
            for event_type, route in kept.routes.items():
                routes[event_type].append((part.append, *route))
        for position, event_type, event in batch:
            stream = event.originator_id.int
            for append, name, fold, begins in routes[event_type]:
                append((name(event, position) if name else stream, fold, event, position, begins))
        return parts

    def _fold(self, kept: KeptRows, work: Work) -> None:
        if unknown := kept.unknown(work):
            self._be_keyed(kept.projection)
            kept.add_stored(self._load(kept.projection.table, unknown))
        kept.fold(work)
        self._write(kept.projection.table, kept.let_go())

    def _be_keyed(self, projection: Projection) -> None:
        """Rows can be found from now on."""
        if projection in self._unkeyed:
            self._unkeyed.remove(projection)
            self._connection.execute(projection.table.key_ddl.encode())

    def leave_to_key(self) -> list[Projection]:
        """Those whose rows nobody has had to find yet: keys made of many rows cost less. They are the caller's now."""
        unkeyed, self._unkeyed = self._unkeyed, []
        return unkeyed

    def write_all(self) -> None:
        """The tables show all that was folded."""
        for kept in self._kept:
            self._write(kept.projection.table, kept.all_changes())

    def _run(self, statement: str, *name: str) -> None:
        self._connection.execute(sql.SQL(statement).format(sql.Identifier(*name)))

    def _load(self, table: Table[Any], keys: Iterable[Any]) -> dict[Any, tuple[Any, ...]]:
        rows = self._connection.execute(table.select.encode(), (list(keys),), binary=True)
        return {row[table.key_at]: row for row in rows}

    def _write(self, table: Table[Any], writing: Writing) -> None:
        if writing.new:
            self._copy(table, writing.new)
        for chunk in _chunks(writing.changed):
            columns = tuple(map(list, zip(*map(astuple, chunk), strict=True)))
            self._connection.execute(table.update.encode(), columns)
        for gone in _chunks(writing.gone):
            self._connection.execute(table.delete.encode(), (gone,))

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
