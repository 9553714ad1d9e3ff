"""What every fact of the log carries: when it happened, who acted, and in answer to which request."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from eventsourcing.domain import Aggregate


class Personal:
    """Marks a field of an event that is sealed with the key of the person it speaks of.

    The class attribute `subject` of the event names the field that holds the person's account id.
    An erased person's field reads `None`.
    """


PersonalText = Annotated[str, Personal]


class Plain(str):
    """A personal text that was stored before its field was sealed."""

    __slots__ = ()


def were_plain(*fields: str) -> "staticmethod[[dict[str, Any]], None]":
    """The upcast to the version since which these fields are sealed, where nothing else changed."""

    def upcast(state: dict[str, Any]) -> None:
        state.update({name: Plain(state[name]) for name in fields})

    return staticmethod(upcast)


@dataclass(frozen=True)
class Occasion:
    """The circumstances that a fact is stated in, known at the edge and not by the rules."""

    at: datetime
    actor: UUID | None = None
    correlation_id: str | None = None


_occasion: ContextVar[Occasion] = ContextVar("occasion")


@contextmanager
def on_occasion(occasion: Occasion) -> Iterator[None]:
    """Facts stated inside carry this moment, actor and correlation id."""
    token = _occasion.set(occasion)
    try:
        yield
    finally:
        _occasion.reset(token)


def _now() -> datetime:
    return _occasion.get().at


def _actor() -> UUID | None:
    return _occasion.get().actor


def _correlation_id() -> str | None:
    return _occasion.get().correlation_id


class Entity(Aggregate):
    """One account, image or claim: a stream of facts and the state they add up to."""

    class Event(Aggregate.Event):
        """A fact. `actor` is an account id, or `None` where the service itself acted."""

        subject = "originator_id"

        actor: UUID | None = field(default_factory=_actor, kw_only=True)
        correlation_id: str | None = field(default_factory=_correlation_id, kw_only=True)

        @staticmethod
        def create_timestamp() -> datetime:
            return _now()


class Begun(Entity.Event, Aggregate.Created):
    """The first fact of a stream."""


class Reasoned(Entity.Event):
    """A fact that somebody gave a reason for: their words may name the person."""

    class_version = 2
    reason: PersonalText | None

    upcast_v1_v2 = were_plain("reason")


# The library copies an inherited `Created` into each subclass, where it would lack a topic.
del Entity.Created
