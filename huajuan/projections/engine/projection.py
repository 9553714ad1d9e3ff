"""Defines a projection: a versioned read table and, for each kind of event, a handler that changes a row."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from uuid import UUID

import msgspec

from huajuan.projections.engine.table import Table

# A fold gets the current row (`None` if there is none), the event and its position in the log. It returns the
# new row, or `None` for no row. It may change the row that it was given.
Fold = Callable[[Any, Any, int], Any]
Key = Callable[[Any, int], Any]


class ProjectionLimits(msgspec.Struct, frozen=True):
    """`foreign_grace_seconds` is a delay after another process appended: that process folds first."""

    batch_events_max: int = 5_000
    turn_events_max: int = 500
    poll_seconds: float = 1
    foreign_grace_seconds: float = 0.03
    retry_pause_seconds: float = 0.1
    retry_pause_seconds_max: float = 0.5
    connect_seconds_max: float = 5
    note_use_every_seconds: float = 60
    # The interval at which the remains of dead rebuilds are removed.
    leftovers_every_seconds: float = 60
    unused_version_hours_max: float = 24


@dataclass(frozen=True)
class Handler:
    """The key of the row that an event changes, and the fold that changes it."""

    key: Key
    fold: Fold


def of_stream(event: Any, _: int) -> UUID:
    """The key of a row for each stream."""
    stream: UUID = event.originator_id
    return stream


def of_position(_: Any, position: int) -> int:
    """The key of a row for each event."""
    return position


def delete_row(_: Any, __: Any, ___: int) -> None:
    """The fold of an event after which there is no row."""


def set_columns(**values: Any) -> Fold:
    """The fold of an event that sets columns to constants."""

    def fold(row: Any, _: Any, __: int) -> Any:
        for column, value in values.items():
            setattr(row, column, value)
        return row

    return fold


@dataclass(frozen=True)
class Skips:
    """Positions of skipped events, and the streams of these events.

    A row that a skipped event would have created does not exist, so folds of later events of its stream may
    fail.
    """

    positions: frozenset[int] = frozenset()
    streams: frozenset[UUID] = frozenset()


NO_SKIPS = Skips()


@dataclass(frozen=True)
class Projection:
    """A changed fold or table is a new `version`, built in its own schema while the old one is served."""

    name: str
    version: int
    table: Table[Any]
    handlers: Mapping[type[Any], Handler]

    @cached_property
    def topics(self) -> frozenset[str]:
        """The topics of the events that it folds."""
        return frozenset(event.TOPIC for event in self.handlers)

    @property
    def schema(self) -> str:
        """The schema of its table, which is also the name of its checkpoint."""
        return f"{self.name}_v{self.version}"

    @property
    def older_schemas(self) -> list[str]:
        return [f"{self.name}_v{version}" for version in range(1, self.version)]
