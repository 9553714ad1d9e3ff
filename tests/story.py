"""Given, when, then: tests of an aggregate without a database."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

import pytest

from huajuan.domain.aggregate import AggregateRoot, EventMetadata, with_event_metadata
from huajuan.domain.refusals import Refused

E = TypeVar("E", bound=AggregateRoot)
NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
_COMMON_FIELDS = {
    "originator_id", "originator_version", "originator_topic", "timestamp", "actor", "correlation_id",
    "command_id",
}  # fmt: skip


class Story(Generic[E]):
    """`given` earlier changes, `when` a change is made, `then` these events are appended, or it is refused.

    Every step starts from the aggregate that replaying the events yields.
    """

    def __init__(self, begin: Callable[[], E], at: datetime = NOON, actor: UUID | None = None) -> None:
        self._metadata = EventMetadata(at, actor, "story")
        self.events: list[Any] = []
        self.appended: list[tuple[str, dict[str, Any]]] = []
        with with_event_metadata(self._metadata):
            self.aggregate = begin()
        self._replay()

    def given(self, *changes: Callable[[E], object]) -> "Story[E]":
        for change in changes:
            with with_event_metadata(self._metadata):
                change(self.aggregate)
        self._replay()
        return self

    def when(self, change: Callable[[E], object]) -> "Story[E]":
        with with_event_metadata(self._metadata):
            change(self.aggregate)
        self.appended = [_topic_and_fields(event) for event in self.aggregate.pending_events]
        self._replay()
        return self

    def then(self, *events: tuple[str, dict[str, Any]]) -> None:
        assert self.appended == list(events)

    def refuses(self, refusal: type[Refused], change: Callable[[E], object]) -> None:
        """A refused change appends no event and leaves the state as it was."""
        before = dict(vars(self.aggregate))
        with with_event_metadata(self._metadata), pytest.raises(refusal):
            change(self.aggregate)
        assert vars(self.aggregate) == before

    def _replay(self) -> None:
        """Replace the aggregate by one built from the events alone, and compare both."""
        self.events = [*self.events, *self.aggregate.collect_events()]
        changed, replayed = self.aggregate, None
        for event in self.events:
            replayed = event.mutate(replayed)
        assert replayed == changed
        self.aggregate = replayed


def _topic_and_fields(event: Any) -> tuple[str, dict[str, Any]]:
    return event.TOPIC, {k: v for k, v in vars(event).items() if k not in _COMMON_FIELDS}
