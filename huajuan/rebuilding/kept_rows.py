"""The rows of one new table that are at hand: folded in memory, written when they are let go."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any
from uuid import UUID

import msgspec
from msgspec.structs import astuple

from huajuan.domain.facts import Begun
from huajuan.event_store.reading import Recorded
from huajuan.projections.projection import Projection, Touch, of_position, of_stream
from huajuan.rebuilding.errors import FoldFailed
from huajuan.rebuilding.pages import Unreadable


class Kept:
    """A row, and whether the table has it."""

    __slots__ = ("is_stored", "row")

    def __init__(self, row: Any, *, is_stored: bool) -> None:
        self.row = row
        self.is_stored = is_stored


def _alone(_: Any, position: int) -> int:
    """Stands for `of_position` where nobody else touches the row, so that it need not be looked for."""
    return position


def _itself(key: Any) -> Any:
    return key


def _number(key: UUID) -> int:
    return key.int


def _uuid(number: int) -> UUID:
    return UUID(int=number)


def _told_apart(touches: Mapping[type[Any], Touch]) -> Mapping[type[Any], Touch]:
    if any(touch.key is not of_position for touch in touches.values()):
        return touches
    return {event: Touch(_alone, touch.fold) for event, touch in touches.items()}


class Writing(msgspec.Struct):
    """What is to be written: rows as tuples, and the keys of rows that are gone."""

    new: list[tuple[Any, ...]]
    changed: list[tuple[Any, ...]]
    gone: list[Any]


class KeptRows:
    """In two generations: a row that is touched is young again, and the old ones are let go together.

    So the hot rows stay, and no more than `rows_max` are held.
    """

    def __init__(self, projection: Projection, rows_max: int, skipped: frozenset[int]) -> None:
        self.projection = projection
        self._skipped = skipped
        # An event that cannot be read is of nobody's row, and fails whoever would fold it.
        self._touches = {**_told_apart(projection.touches), Unreadable: Touch(_alone, self._refuse)}
        self._half = max(1, rows_max // 2)
        # A UUID is hashed and compared by Python, its number is not.
        self._name: Callable[[Any], Any] = _number if projection.table.key_type is UUID else _itself
        self._key: Callable[[Any], Any] = _uuid if projection.table.key_type is UUID else _itself
        self._young: dict[Any, Kept] = {}
        self._old: dict[Any, Kept] = {}
        # Those of both that are not in the table as they are now.
        self._changed: dict[Any, Kept] = {}
        # Rows of positions that nobody else touches are only ever added.
        self._added: list[tuple[Any, ...]] = []
        self._has_let_go = False

    def unknown(self, batch: Iterable[Recorded]) -> set[Any]:
        """Keys whose rows the table may have while they are not at hand."""
        if not self._has_let_go:
            return set()
        touches, begun, name = self._touches, Begun, self._name
        names = {
            name(touch.key(event, position))
            for position, event in batch
            if (touch := touches.get(type(event)))
            and touch.key is not _alone
            and not (touch.key is of_stream and isinstance(event, begun))
        }
        return {self._key(unknown) for unknown in names - self._young.keys() - self._old.keys()}

    def add_stored(self, rows: dict[Any, tuple[Any, ...]]) -> None:
        make = self.projection.table.row
        self._young |= {self._name(key): Kept(make(*row), is_stored=True) for key, row in rows.items()}

    def fold(self, batch: Iterable[Recorded]) -> None:
        """Raises `FoldFailed`."""
        young, changed, name = self._young, self._changed, self._name
        position = 0
        try:
            for touch, event, position in self._touched(batch):
                if touch.key is _alone:
                    self._add(touch.fold(None, event, position))
                    continue
                key = name(touch.key(event, position))
                kept = changed[key] = young.get(key) or self._made_young(key)
                kept.row = touch.fold(kept.row, event, position)
        except Exception as error:
            raise FoldFailed(self.projection.name, position, error) from error

    def _add(self, row: Any) -> None:
        if row is not None:
            self._added.append(astuple(row))

    def _touched(self, batch: Iterable[Recorded]) -> list[tuple[Touch, Any, int]]:
        touches, skipped = self._touches, self._skipped
        found = [(touches[type(e)], e, p) for p, e in batch if type(e) in touches]
        return [one for one in found if one[2] not in skipped] if skipped else found

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
