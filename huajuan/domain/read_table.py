"""The acts of admins on a read table: requested rebuilds and skipped events."""

from typing import Self
from uuid import UUID

from eventsourcing.domain import event

from huajuan.domain.aggregate import AggregateRoot, CreatedEvent
from huajuan.domain.refusals import AlreadySkipped


class ReadTable(AggregateRoot):
    """One stream for each projection and version, such as `history_v1`; its id is derived from that name."""

    TOPIC = "read_table"

    class Named(CreatedEvent):
        TOPIC = "read_table.named"
        projection: str

    class RebuildRequested(AggregateRoot.Event):
        TOPIC = "read_table.rebuild_asked"
        projection: str
        reason: str

    class EventSkipped(AggregateRoot.Event):
        """The fold of this version skips the event at `position`, whose type is `topic`."""

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
    def begin(cls, read_table_id: UUID, projection: str) -> Self:
        return cls._create(cls.Named, id=read_table_id, projection=projection)

    def request_rebuild(self, reason: str) -> None:
        self._request_rebuild(self.projection, reason)

    def skip(self, position: int, topic: str, reason: str) -> None:
        """Raises `AlreadySkipped`."""
        if position in self.skipped:
            raise AlreadySkipped
        self._skip(self.projection, position, topic, reason)

    @event(RebuildRequested)
    def _request_rebuild(self, projection: str, reason: str) -> None:
        """Changes no state."""

    @event(EventSkipped)
    def _skip(self, projection: str, position: int, topic: str, reason: str) -> None:
        self.skipped.add(position)
