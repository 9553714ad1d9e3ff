"""A read table, as far as admins act on it: what they asked for, and why."""

from typing import Self
from uuid import UUID

from eventsourcing.domain import event

from huajuan.domain.aggregate import Begun, Entity
from huajuan.domain.refusals import AlreadySkipped


class ReadTable(Entity):
    """One for each projection and version, such as `history_v1`. The stream's id is cut from that name."""

    TOPIC = "read_table"

    class Named(Begun):
        TOPIC = "read_table.named"
        projection: str

    class RebuildAsked(Entity.Event):
        TOPIC = "read_table.rebuild_asked"
        projection: str
        reason: str

    class EventSkipped(Entity.Event):
        """The fold of this version leaves out the event at `position`, whose kind is `topic`."""

        TOPIC = "read_table.event_skipped"
        projection: str
        position: int
        topic: str
        reason: str

    @event(Named)
    def __init__(self, projection: str) -> None:
        self.projection = projection
        self.skipped: set[int] = set()

    @classmethod
    def name(cls, read_table_id: UUID, projection: str) -> Self:
        return cls._create(cls.Named, id=read_table_id, projection=projection)

    def ask_for_rebuild(self, reason: str) -> None:
        self._ask_for_rebuild(self.projection, reason)

    def skip(self, position: int, topic: str, reason: str) -> None:
        if position in self.skipped:
            raise AlreadySkipped
        self._skip(self.projection, position, topic, reason)

    @event(RebuildAsked)
    def _ask_for_rebuild(self, projection: str, reason: str) -> None:
        """Nothing is decided on it."""

    @event(EventSkipped)
    def _skip(self, projection: str, position: int, topic: str, reason: str) -> None:
        self.skipped.add(position)
