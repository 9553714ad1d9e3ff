"""The rows of one new table that are at hand: folded in memory, written when they are let go."""

from collections.abc import Iterable
from itertools import chain
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from huajuan.domain.aggregate import Begun
from huajuan.projections.engine.projection import (
    Fold,
    Key,
    Projection,
    Skips,
    Touch,
    of_position,
    of_stream,
)
from huajuan.projections.rebuild.decode import Unreadable
from huajuan.projections.rebuild.errors import FoldFailed


class Kept:
    """A row, whether the table has it, and whether as it is now."""

    __slots__ = ("is_changed", "is_stored", "row")

    def __init__(self, row: Any, *, is_stored: bool) -> None:
        self.row = row
        self.is_stored = is_stored
        self.is_changed = False


class Route(NamedTuple):
    """How an event comes to its row: by the row's name at hand, which is its stream's number if `name` is none.

    `begins` is an event before which there is no row.
    """

    name: Key | None
    fold: Fold
    begins: bool


# Of one event: the name of its row, its fold, itself, its position, and whether it begins the row.
Work = list[tuple[Any, Fold, Any, int, bool]]


class Writing(msgspec.Struct):
    """What is to be written: rows, and the keys of rows that are gone."""

    new: list[Any]
    changed: list[Any]
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
        # Rows of positions that nobody else touches are only ever added.
        self._only_adds = all(touch.key is of_position for touch in projection.touches.values())
        self.routes = {event: self._route(event, touch) for event, touch in projection.touches.items()}
        # An event that cannot be read is of nobody's row, and fails whoever would fold it.
        self.routes[Unreadable] = Route(lambda _, __: None, self._refuse, True)
        self._lost = frozenset(map(self._name, skips.streams))
        self._young: dict[Any, Kept] = {}
        self._old: dict[Any, Kept] = {}
        self._added: list[Any] = []
        self._has_let_go = False
        # What was touched since all was written, so that the few are not looked for among the many; `None` is all.
        self._touched: set[Any] | None = None

    def _route(self, event: type[Any], touch: Touch) -> Route:
        key = touch.key
        if key is of_stream:
            return Route(None, touch.fold, issubclass(event, Begun))
        numbered = (lambda event, position: key(event, position).int) if self._has_numbers else key
        return Route(numbered, touch.fold, False)

    def unknown(self, work: Work) -> set[Any]:
        """Keys whose rows the table may have while they are not at hand."""
        if not self._has_let_go:
            return set()
        young, old = self._young, self._old
        names = {name for name, _, _, _, begins in work if not begins}
        return {self._key(name) for name in names if name not in young and name not in old}

    def add_stored(self, rows: dict[Any, tuple[Any, ...]]) -> None:
        make = self.projection.table.row
        self._young |= {self._name(key): Kept(make(*row), is_stored=True) for key, row in rows.items()}

    def _name(self, key: Any) -> Any:
        return key.int if self._has_numbers else key

    def _key(self, name: Any) -> Any:
        return UUID(int=name) if self._has_numbers else name

    def fold(self, work: Work) -> None:
        """Raises `FoldFailed`."""
        (self._add if self._only_adds else self._change)(self._unskipped(work))

    def _add(self, work: Work) -> None:
        position = 0
        try:
            for _, fold, event, position, _ in work:
                row = fold(None, event, position)
                if row is not None:
                    self._added.append(row)
        except Exception as error:
            raise FoldFailed(self.projection.name, position, error) from error

    def _change(self, work: Work) -> None:
        self._remember(work)
        young = self._young
        position = 0
        try:
            for name, fold, event, position, _ in work:
                kept = young.get(name) or self._made_young(name)
                kept.is_changed = True
                try:
                    kept.row = fold(kept.row, event, position)
                except Exception:
                    if kept.row is not None or name not in self._lost:
                        raise
        except Exception as error:
            raise FoldFailed(self.projection.name, position, error) from error

    def _remember(self, work: Work) -> None:
        if self._touched is not None:
            self._touched.update(one[0] for one in work)
            if len(self._touched) > self._half:
                self._touched = None

    def _unskipped(self, work: Work) -> Work:
        skipped = self._skipped
        return [one for one in work if one[3] not in skipped] if skipped else work

    def _refuse(self, _: Any, unread: Unreadable, __: int) -> None:
        if unread.topic in self.projection.topics:
            raise unread.error

    def _made_young(self, name: Any) -> Kept:
        kept = self._old.pop(name) if name in self._old else Kept(None, is_stored=False)
        self._young[name] = kept
        return kept

    def let_go(self) -> Writing:
        """What is to be written now so that no more rows than may be are held."""
        leaving: dict[Any, Kept] = {}
        if len(self._young) >= self._half:
            self._young, self._old, leaving = leaving, self._young, self._old
        self._has_let_go |= bool(leaving)
        return self._written(leaving.items())

    def all_changes(self) -> Writing:
        """What is to be written so that the table shows all that was folded."""
        touched, self._touched = self._touched, set()
        return self._written(self._at_hand() if touched is None else self._those(touched))

    def _at_hand(self) -> Iterable[tuple[Any, Kept]]:
        return chain(self._old.items(), self._young.items())

    def _those(self, names: Iterable[Any]) -> Iterable[tuple[Any, Kept]]:
        """But for those that were let go, and so are written."""
        found = ((name, self._young.get(name) or self._old.get(name)) for name in names)
        return ((name, kept) for name, kept in found if kept)

    def _written(self, rows: Iterable[tuple[Any, Kept]]) -> Writing:
        writing, self._added = Writing(self._added, [], []), []
        for name, kept in rows:
            if not kept.is_changed:
                continue
            if kept.row is not None:
                (writing.changed if kept.is_stored else writing.new).append(kept.row)
            elif kept.is_stored:
                writing.gone.append(self._key(name))
            kept.is_stored, kept.is_changed = kept.row is not None, False
        return writing
