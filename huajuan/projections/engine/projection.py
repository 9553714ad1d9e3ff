"""What a projection is: a versioned read table and, for each kind of event, the row it touches and how."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from uuid import UUID

from huajuan.projections.engine.table import Table

# A fold gets the row as it stands (`None` if there is none), the event and its position, and returns the
# row as it now stands, or `None` for no row. It may change the row it was given.
Fold = Callable[[Any, Any, int], Any]
Key = Callable[[Any, int], Any]


@dataclass(frozen=True)
class Touch:
    """Which row an event touches, and how."""

    key: Key
    fold: Fold


def of_stream(event: Any, _: int) -> UUID:
    """The row of the aggregate that the event belongs to."""
    stream: UUID = event.originator_id
    return stream


def of_position(_: Any, position: int) -> int:
    """A row of the event's own."""
    return position


@dataclass(frozen=True)
class Skips:
    """Positions that a table leaves out, and the streams of the events there.

    A row that such an event would have made is not there, so what later events do to it comes to nothing.
    """

    positions: frozenset[int] = frozenset()
    streams: frozenset[UUID] = frozenset()


NO_SKIPS = Skips()


@dataclass(frozen=True)
class Projection:
    """A changed fold or table is a new `version`, built in a schema of its own while the old one serves."""

    name: str
    version: int
    table: Table[Any]
    touches: Mapping[type[Any], Touch]

    @cached_property
    def topics(self) -> frozenset[str]:
        """The kinds of events it folds."""
        return frozenset(event.TOPIC for event in self.touches)

    @property
    def schema(self) -> str:
        """Where its table lives, and the name of its checkpoint."""
        return f"{self.name}_v{self.version}"
