"""The rows of one new table that are at hand: folded in memory, written when they are let go."""

from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from msgspec.structs import astuple

from huajuan.domain.facts import Begun
from huajuan.projections.projection import Fold, Key, Projection, Skips, Touch, of_position, of_stream
from huajuan.rebuilding.errors import FoldFailed
from huajuan.rebuilding.pages import Unreadable


class Kept:
    """A row, and whether the table has it."""

    __slots__ = ("is_stored", "row")

    def __init__(self, row: Any, *, is_stored: bool) -> None:
        self.row = row
        self.is_stored = is_stored


class Route(NamedTuple):
    """How an event comes to its row: by the row's name at hand, or by none where nobody else touches the row."""

    name: Key | None
    fold: Fold
    of_stream: bool


Work = list[tuple[Route, Any, int]]


class Writing(msgspec.Struct):
    """What is to be written: rows as tuples, and the keys of rows that are gone."""

    new: list[tuple[Any, ...]]
    changed: list[tuple[Any, ...]]
    gone: list[Any]


class KeptRows:
    """In two generations: a row that is touched is young again, and the old ones are let go together.

    So the hot rows stay, and no more than `rows_max` are held.
    """

    def __init__(self, projection: Projection, rows_max: int, skips: Skips) -> None:
        self.projection = projection
        self._skipped = skips.positions
        self._half = max(1, rows_max // 2)
        # A UUID is hashed and compared by Python, its number is not.
        self._has_numbers = projection.table.key_type is UUID
        alone = all(touch.key is of_position for touch in projection.touches.values())
        self.routes = {event: self._route(touch, alone) for event, touch in projection.touches.items()}
        # An event that cannot be read is of nobody's row, and fails whoever would fold it.
        self.routes[Unreadable] = Route(None, self._refuse, False)
        self._lost = frozenset(map(self._name, skips.streams)) if self._has_numbers else skips.streams
        self._young: dict[Any, Kept] = {}
        self._old: dict[Any, Kept] = {}
        # Those of both that are not in the table as they are now.
        self._changed: dict[Any, Kept] = {}
        # Rows of positions that nobody else touches are only ever added.
        self._added: list[tuple[Any, ...]] = []
        self._has_let_go = False

    def _route(self, touch: Touch, alone: bool) -> Route:
        if alone:
            return Route(None, touch.fold, False)
        key = touch.key
        numbered = (lambda event, position: key(event, position).int) if self._has_numbers else key
        return Route(numbered, touch.fold, key is of_stream)

    def unknown(self, work: Work) -> set[Any]:
        """Keys whose rows the table may have while they are not at hand."""
        if not self._has_let_go:
            return set()
        names = {
            route.name(event, position)
            for route, event, position in work
            if route.name and not (route.of_stream and isinstance(event, Begun))
        }
        return {self._key(unknown) for unknown in names - self._young.keys() - self._old.keys()}

    def add_stored(self, rows: dict[Any, tuple[Any, ...]]) -> None:
        make = self.projection.table.row
        self._young |= {self._name(key): Kept(make(*row), is_stored=True) for key, row in rows.items()}

    def _name(self, key: Any) -> Any:
        return key.int if self._has_numbers else key

    def _key(self, name: Any) -> Any:
        return UUID(int=name) if self._has_numbers else name

    def fold(self, work: Work) -> None:
        """Raises `FoldFailed`."""
        young, changed = self._young, self._changed
        position = 0
        try:
            for (name, fold, _), event, position in self._unskipped(work):
                if name is None:
                    self._add(fold(None, event, position))
                    continue
                key = name(event, position)
                kept = changed[key] = young.get(key) or self._made_young(key)
                try:
                    kept.row = fold(kept.row, event, position)
                except Exception:
                    if kept.row is not None or key not in self._lost:
                        raise
        except Exception as error:
            raise FoldFailed(self.projection.name, position, error) from error

    def _add(self, row: Any) -> None:
        if row is not None:
            self._added.append(astuple(row))

    def _unskipped(self, work: Work) -> Work:
        skipped = self._skipped
        return [one for one in work if one[2] not in skipped] if skipped else work

    def _refuse(self, _: Any, unread: Unreadable, __: int) -> None:
        if unread.topic in self.projection.topics:
            raise unread.error

    def _made_young(self, key: Any) -> Kept:
        kept = self._old.pop(key) if key in self._old else Kept(None, is_stored=False)
        self._young[key] = kept
        return kept

    def let_go(self) -> Writing:
        """What is to be written now so that no more rows than may be are held."""
        if len(self._young) < self._half:
            return self._written({})
        self._old, leaving = self._young, self._old
        self._young = {}
        self._has_let_go |= bool(leaving)
        return self._written({key: self._changed.pop(key) for key in leaving if key in self._changed})

    def all_changes(self) -> Writing:
        """What is to be written so that the table shows all that was folded."""
        changed, self._changed = self._changed, {}
        return self._written(changed)

    def _written(self, rows: dict[Any, Kept]) -> Writing:
        writing, self._added = Writing(self._added, [], []), []
        for key, kept in rows.items():
            if kept.row is not None:
                (writing.changed if kept.is_stored else writing.new).append(astuple(kept.row))
            elif kept.is_stored:
                writing.gone.append(self._key(key))
            kept.is_stored = kept.row is not None
        return writing
