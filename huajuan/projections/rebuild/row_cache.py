"""The cached rows of one new table: folded in memory, and written when they are evicted."""

from collections.abc import Iterable
from itertools import chain
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from huajuan.domain.aggregate import CreatedEvent
from huajuan.projections.engine.projection import (
    Fold,
    Handler,
    Key,
    Projection,
    Skips,
    of_position,
    of_stream,
)
from huajuan.projections.rebuild.errors import FoldFailed
from huajuan.projections.rebuild.log_pages import UndecodableEvent


class CachedRow:
    """A row, whether the table has it, and whether it has changed since."""

    __slots__ = ("is_changed", "is_stored", "row")

    def __init__(self, row: Any, *, is_stored: bool) -> None:
        self.row = row
        self.is_stored = is_stored
        self.is_changed = False


class EventRoute(NamedTuple):
    """How an event finds its row and changes it. `key` is `None` for the number of the event's stream.

    `is_first` is true of an event before which there is no row.
    """

    key: Key | None
    fold: Fold
    is_first: bool


# For each event: the key of its row, the fold, the event, its position, and whether it is the first of the
# row.
Work = list[tuple[Any, Fold, Any, int, bool]]


class RowChanges(msgspec.Struct):
    """Rows to write, and the keys of rows to delete."""

    new: list[Any]
    changed: list[Any]
    deleted: list[Any]


class RowCache:
    """Two generations of rows: a row that is used moves to the young one, and the old one is evicted as a
    whole.

    So it keeps the rows in frequent use, and at most `rows_max`. Inside, a UUID key is its number: Python
    hashes and compares UUIDs in slow code of its own. The fold loops here do the same as `engine/apply.py`,
    without a load and a comparison for each batch.
    """

    def __init__(self, projection: Projection, rows_max: int, skips: Skips) -> None:
        self.projection = projection
        self._skipped = skips.positions
        self._half = max(1, rows_max // 2)
        self._has_numbers = projection.table.key_type is UUID
        # Rows with the positions of events as keys are inserted and never changed.
        self._only_inserts = all(handler.key is of_position for handler in projection.handlers.values())
        self.routes = {event: self._route(event, one) for event, one in projection.handlers.items()}
        # An undecodable event belongs to no row. Its fold fails if the projection folds its topic.
        self.routes[UndecodableEvent] = EventRoute(lambda _, __: None, self._raise_error, True)
        self._skipped_keys = frozenset(map(self._internal, skips.streams))
        self._young: dict[Any, CachedRow] = {}
        self._old: dict[Any, CachedRow] = {}
        self._inserted: list[Any] = []
        self._has_evicted = False
        # Keys used since the last `flush`, so that it need not look at all rows; `None` stands for all.
        self._used: set[Any] | None = None

    def _route(self, event: type[Any], handler: Handler) -> EventRoute:
        key = handler.key
        if key is of_stream:
            return EventRoute(None, handler.fold, issubclass(event, CreatedEvent))
        internal = (lambda event, position: key(event, position).int) if self._has_numbers else key
        return EventRoute(internal, handler.fold, False)

    def _internal(self, key: Any) -> Any:
        return key.int if self._has_numbers else key

    def _external(self, key: Any) -> Any:
        return UUID(int=key) if self._has_numbers else key

    def missing_keys(self, work: Work) -> set[Any]:
        """Keys of rows that are not cached although the table may have them."""
        if not self._has_evicted:
            return set()
        young, old = self._young, self._old
        keys = {key for key, _, _, _, is_first in work if not is_first}
        return {self._external(key) for key in keys if key not in young and key not in old}

    def add_stored(self, rows: dict[Any, tuple[Any, ...]]) -> None:
        make = self.projection.table.row
        self._young |= {
            self._internal(key): CachedRow(make(*row), is_stored=True) for key, row in rows.items()
        }

    def fold(self, work: Work) -> None:
        """Raises `FoldFailed`."""
        (self._insert if self._only_inserts else self._change)(self._without_skipped(work))

    def _insert(self, work: Work) -> None:
        position = 0
        try:
            for _, fold, event, position, _ in work:
                row = fold(None, event, position)
                if row is not None:
                    self._inserted.append(row)
        except Exception as error:
            raise FoldFailed(self.projection.name, position, error) from error

    def _change(self, work: Work) -> None:
        self._record_use(work)
        young = self._young
        position = 0
        try:
            for key, fold, event, position, _ in work:
                cached = young.get(key) or self._move_to_young(key)
                cached.is_changed = True
                try:
                    cached.row = fold(cached.row, event, position)
                except Exception:
                    if cached.row is not None or key not in self._skipped_keys:
                        raise
        except Exception as error:
            raise FoldFailed(self.projection.name, position, error) from error

    def _record_use(self, work: Work) -> None:
        if self._used is not None:
            self._used.update(one[0] for one in work)
            if len(self._used) > self._half:
                self._used = None

    def _without_skipped(self, work: Work) -> Work:
        skipped = self._skipped
        return [one for one in work if one[3] not in skipped] if skipped else work

    def _raise_error(self, _: Any, event: UndecodableEvent, __: int) -> None:
        if event.topic in self.projection.topics:
            raise event.error

    def _move_to_young(self, key: Any) -> CachedRow:
        cached = self._old.pop(key) if key in self._old else CachedRow(None, is_stored=False)
        self._young[key] = cached
        return cached

    def evict(self) -> RowChanges:
        """Evicts the old generation when the young one is full. Returns the changes to write now."""
        evicted: dict[Any, CachedRow] = {}
        if len(self._young) >= self._half:
            self._young, self._old, evicted = evicted, self._young, self._old
        self._has_evicted |= bool(evicted)
        return self._take_changes(evicted.items())

    def flush(self) -> RowChanges:
        """All changes that are not written yet. The rows stay in the cache."""
        used, self._used = self._used, set()
        return self._take_changes(self._all() if used is None else self._cached(used))

    def _all(self) -> Iterable[tuple[Any, CachedRow]]:
        return chain(self._old.items(), self._young.items())

    def _cached(self, keys: Iterable[Any]) -> Iterable[tuple[Any, CachedRow]]:
        """Without evicted rows, which are written already."""
        found = ((key, self._young.get(key) or self._old.get(key)) for key in keys)
        return ((key, cached) for key, cached in found if cached)

    def _take_changes(self, rows: Iterable[tuple[Any, CachedRow]]) -> RowChanges:
        changes, self._inserted = RowChanges(self._inserted, [], []), []
        for key, cached in rows:
            if not cached.is_changed:
                continue
            if cached.row is not None:
                (changes.changed if cached.is_stored else changes.new).append(cached.row)
            elif cached.is_stored:
                changes.deleted.append(self._external(key))
            cached.is_stored, cached.is_changed = cached.row is not None, False
        return changes
