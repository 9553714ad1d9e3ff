"""New tables of a rebuild in schemas of their own: rows are folded in memory and written by COPY, then
indexed.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import msgspec
import psycopg
from msgspec.structs import astuple
from psycopg import sql

from huajuan.domain.aggregate import CreatedEvent
from huajuan.projections.engine.fold import DecodedEvent, FoldFailed, UndecodableEvent, Work, fold_rows
from huajuan.projections.engine.projection import (
    NO_SKIPS,
    Fold,
    Handler,
    Key,
    Projection,
    Skips,
    of_position,
    of_stream,
)
from huajuan.projections.engine.table import Table, arrays_of
from huajuan.projections.rebuild.session import EventNotFolded, RebuildLimits, connection

CHUNK_ROWS = 5_000
STATISTICS_TARGET = 20


def new_schema(projection: Projection) -> str:
    return f"{projection.schema}_new"


def old_schema(projection: Projection) -> str:
    return f"{projection.schema}_old"


# How an event finds its row and changes it: the key (`None` for the number of the event's stream), the fold,
# and whether there is no row before the event.
EventRoute = tuple[Key | None, Fold, bool]


class RowChanges(msgspec.Struct):
    """Rows to write, and the keys of rows to delete."""

    new: list[Any]
    changed: list[Any]
    deleted: list[Any]


class RowCache:
    """The cached rows of one table, in two generations: a row that is used moves to the young one, and the
    old one is evicted as a whole.

    So it keeps the rows in frequent use, and at most `rows_max`. Inside, a UUID key is its number: Python
    hashes and compares UUIDs in slow code of its own.
    """

    def __init__(self, projection: Projection, rows_max: int, skips: Skips) -> None:
        self.projection = projection
        self._skipped = skips.positions
        # Rows with the positions of events as keys are inserted and never changed, so they are not kept.
        only_inserts = all(handler.key is of_position for handler in projection.handlers.values())
        self._half = 1 if only_inserts else max(1, rows_max // 2)
        self.routes: dict[type[Any], EventRoute] = {
            event: self._route(event, one) for event, one in projection.handlers.items()
        }
        # An undecodable event belongs to no row. Its fold fails if the projection folds its topic.
        self.routes[UndecodableEvent] = (lambda _, __: None, self._raise_error, True)
        self._skipped_keys = frozenset(map(self._internal, skips.streams))
        self._young: dict[Any, Any] = {}
        self._old: dict[Any, Any] = {}
        self._has_evicted = False
        # Keys of cached rows: those that the table has, and those to write, in the order of first changes.
        self._stored: set[Any] = set()
        self._changed: dict[Any, None] = {}

    def _route(self, event: type[Any], handler: Handler) -> EventRoute:
        key = handler.key
        if key is of_stream:
            return None, handler.fold, issubclass(event, CreatedEvent)
        has_numbers = self.projection.table.has_uuid_key
        internal = (lambda event, position: key(event, position).int) if has_numbers else key
        return internal, handler.fold, key is of_position

    def _internal(self, key: Any) -> Any:
        return key.int if self.projection.table.has_uuid_key else key

    def _external(self, key: Any) -> Any:
        return UUID(int=key) if self.projection.table.has_uuid_key else key

    def _raise_error(self, _: Any, event: UndecodableEvent, __: int) -> None:
        if event.topic in self.projection.topics:
            raise event.error

    def missing_keys(self, work: Work) -> set[Any]:
        """Keys of rows that are not cached although the table may have them."""
        if not self._has_evicted:
            return set()
        young, old = self._young, self._old
        keys = {key for key, _, _, _, is_first in work if not is_first}
        return {self._external(key) for key in keys if key not in young and key not in old}

    def add_stored(self, rows: Iterable[tuple[Any, ...]]) -> None:
        table = self.projection.table
        for row in rows:
            key = self._internal(row[table.key_at])
            self._young[key] = table.row(*row)
            self._stored.add(key)

    def fold(self, work: Work) -> None:
        """Raises `EventNotFolded`."""
        if self._skipped:
            work = [one for one in work if one[3] not in self._skipped]
        keys = dict.fromkeys([one[0] for one in work])
        for key in keys.keys() & self._old.keys():
            self._young[key] = self._old.pop(key)
        self._changed |= keys
        try:
            fold_rows(self._young, work, self._skipped_keys)
        except FoldFailed as error:
            cause = error.__cause__
            raise EventNotFolded(self.projection.name, error.position, cause) from cause

    def evict(self) -> RowChanges:
        """Evicts the old generation when the young one is full. Returns the changes to write now."""
        if len(self._young) < self._half:
            return RowChanges([], [], [])
        self._young, self._old, evicted = {}, self._young, self._old
        self._has_evicted |= bool(evicted)
        changes = self._take_changes((key, row) for key, row in evicted.items() if key in self._changed)
        self._stored.difference_update(evicted)
        for key in evicted:
            self._changed.pop(key, None)
        return changes

    def flush(self) -> RowChanges:
        """All changes that are not written yet. The rows stay in the cache."""
        changed, self._changed = self._changed, {}
        young, old = self._young, self._old
        return self._take_changes((key, young[key] if key in young else old.get(key)) for key in changed)

    def _take_changes(self, rows: Iterable[tuple[Any, Any]]) -> RowChanges:
        changes, stored = RowChanges([], [], []), self._stored
        for key, row in rows:
            if row is None:
                if key in stored:
                    stored.remove(key)
                    changes.deleted.append(self._external(key))
            elif key in stored:
                changes.changed.append(row)
            else:
                stored.add(key)
                changes.new.append(row)
        return changes


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
        schemas = [sql.Identifier(new_schema(cache.projection)) for cache in self._caches]
        for cache, schema in zip(self._caches, schemas, strict=True):
            self._connection.execute(sql.SQL("CREATE SCHEMA {}").format(schema))
            self._connection.execute(sql.SQL("SET search_path = {}").format(schema))
            self._connection.execute(cache.projection.table.bare_ddl.encode())
        self._connection.execute(sql.SQL("SET search_path = {}").format(sql.SQL(", ").join(schemas)))

    def fold(self, batch: Sequence[DecodedEvent], end: int, bounds: Mapping[str, int]) -> None:
        """The events up to `end`, for each table only up to its bound. Raises `EventNotFolded`."""
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
        table = cache.projection.table
        if missing := cache.missing_keys(work):
            if cache.projection in self._unkeyed:  # the rows are found by the primary key
                self._unkeyed.remove(cache.projection)
                self._connection.execute(table.key_ddl.encode())
            cache.add_stored(self._connection.execute(table.select, (list(missing),), binary=True))
        cache.fold(work)
        self._write(table, cache.evict())

    def take_unkeyed(self) -> list[Projection]:
        """Those without a primary key; the caller adds it. Adding it to a full table is the fastest."""
        unkeyed, self._unkeyed = self._unkeyed, []
        return unkeyed

    def write_all(self) -> None:
        """Writes all cached changes."""
        for cache in self._caches:
            self._write(cache.projection.table, cache.flush())

    def _write(self, table: Table[Any], changes: RowChanges) -> None:
        if changes.new:
            with self._connection.cursor() as cursor, cursor.copy(table.copy) as copy:
                copy.set_types(table.types)
                for row in changes.new:
                    copy.write_row(astuple(row))
        for rows in _chunks(changes.changed):
            self._connection.execute(table.update, arrays_of(map(astuple, rows)))
        for keys in _chunks(changes.deleted):
            self._connection.execute(table.delete, (keys,))


def _between(work: Work, after: int, upto: int) -> Work:
    if not work or (work[0][3] > after and work[-1][3] <= upto):
        return work
    return [one for one in work if after < one[3] <= upto]


def _chunks(rows: list[Any]) -> Iterable[list[Any]]:
    return (rows[start : start + CHUNK_ROWS] for start in range(0, len(rows), CHUNK_ROWS))


def create_indexes(
    dsn: str, projections: Sequence[Projection], unkeyed: Sequence[Projection], limits: RebuildLimits
) -> None:
    """Adds keys, indexes and planner statistics to full tables: faster than inserting into indexed ones.

    Indexes of one table are created side by side, each on a connection of its own.
    """

    def run(job: tuple[Projection, str]) -> None:
        projection, statement = job
        with connection(dsn, niced=True) as opened:
            opened.execute(f"SET maintenance_work_mem = '{limits.index_memory_mb}MB'".encode())
            opened.execute(f"SET default_statistics_target = {STATISTICS_TARGET}".encode())
            opened.execute(sql.SQL("SET search_path = {}").format(sql.Identifier(new_schema(projection))))
            opened.execute(statement.encode())

    indexes = [(p, ddl) for p in projections for ddl in p.table.index_ddl]
    # The index for the word search takes longest, so it begins first.
    indexes.sort(key=lambda job: "USING gin" not in job[1])
    with ThreadPoolExecutor(limits.indexes_at_once_max) as threads:
        list(threads.map(run, [(p, p.table.key_ddl) for p in unkeyed]))
        list(threads.map(run, indexes))
        # A rough sample for the planner; autovacuum soon takes a better one.
        list(threads.map(run, [(p, f"ANALYZE {p.table.name}") for p in projections]))
