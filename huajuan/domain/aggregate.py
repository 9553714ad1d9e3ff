"""The base classes of aggregates and events, and the metadata that every event carries."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from eventsourcing.domain import Aggregate


class Personal:
    """Marks a field of an event that is encrypted with the key of one person.

    The class attribute `subject` of the event names the field that holds this person's account id.
    After the erasure of the person the field reads `None`.
    """


PersonalText = Annotated[str, Personal]


class Unencrypted(str):
    """A personal text that was stored before its field was encrypted."""

    __slots__ = ()


def mark_unencrypted(*fields: str) -> "staticmethod[[dict[str, Any]], None]":
    """Returns the upcast to the event version that encrypts these fields and changes nothing else."""

    def upcast(state: dict[str, Any]) -> None:
        state.update({name: Unencrypted(state[name]) for name in fields})

    return staticmethod(upcast)


@dataclass(frozen=True)
class EventMetadata:
    """The metadata of new events. The caller of the domain provides it; rules do not depend on it.

    `command_id` identifies one change of an idempotent command.
    """

    at: datetime
    actor: UUID | None = None
    correlation_id: str | None = None
    command_id: str | None = None


_metadata: ContextVar[EventMetadata] = ContextVar("event_metadata")
_current = _metadata.get


@contextmanager
def with_event_metadata(metadata: EventMetadata) -> Iterator[None]:
    """Events created in this block carry this metadata."""
    token = _metadata.set(metadata)
    try:
        yield
    finally:
        _metadata.reset(token)


class AggregateRoot(Aggregate):
    """The base class of aggregates: a stream of events and the state that follows from them."""

    class Event(Aggregate.Event):
        """`actor` is an account id, or `None` where the service itself acted.

        `command_id` is stored only where an idempotent command made the event.
        """

        subject = "originator_id"

        actor: UUID | None = field(default_factory=lambda: _current().actor, kw_only=True)
        correlation_id: str | None = field(default_factory=lambda: _current().correlation_id, kw_only=True)
        command_id: str | None = field(default_factory=lambda: _current().command_id, kw_only=True)

        @staticmethod
        def create_timestamp() -> datetime:
            return _current().at


class CreatedEvent(AggregateRoot.Event, Aggregate.Created):
    """The first event of a stream."""


class ReasonedEvent(AggregateRoot.Event):
    """An event with a reason, a free text that may contain personal data."""

    class_version = 2
    reason: PersonalText | None

    upcast_v1_v2 = mark_unencrypted("reason")


# The library copies an inherited `Created` into each subclass. That copy would have no topic.
del AggregateRoot.Created
