"""Given, when, then: tell a rule as a story, without a database."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

import pytest

from huajuan.domain.aggregate import Entity, Occasion, on_occasion
from huajuan.domain.refusals import Refused

E = TypeVar("E", bound=Entity)
NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
_OF_EVERY_FACT = {
    "originator_id", "originator_version", "originator_topic", "timestamp", "actor", "correlation_id",
}  # fmt: skip


class Story(Generic[E]):
    """`given` what was stated, `when` something is asked for, `then` these facts, or a refusal."""

    def __init__(self, begin: Callable[[], E], at: datetime = NOON, actor: UUID | None = None) -> None:
        self._occasion = Occasion(at, actor, "story")
        with on_occasion(self._occasion):
            self.aggregate = begin()
        self.stated: list[tuple[str, dict[str, Any]]] = []
        self._replay()

    def given(self, *verbs: Callable[[E], object]) -> "Story[E]":
        for verb in verbs:
            with on_occasion(self._occasion):
                verb(self.aggregate)
        self._replay()
        return self

    def when(self, verb: Callable[[E], object]) -> "Story[E]":
        with on_occasion(self._occasion):
            verb(self.aggregate)
        self.stated = [_told(event) for event in self.aggregate.pending_events]
        self._replay()
        return self

    def then(self, *facts: tuple[str, dict[str, Any]]) -> None:
        assert self.stated == list(facts)

    def refuses(self, refusal: type[Refused], verb: Callable[[E], object]) -> None:
        """The refusal leaves no fact and no change behind."""
        before = dict(vars(self.aggregate))
        with on_occasion(self._occasion), pytest.raises(refusal):
            verb(self.aggregate)
        assert vars(self.aggregate) == before

    def _replay(self) -> None:
        """What follows is decided on the facts alone, not on what the verbs left in memory."""
        self._facts = [*getattr(self, "_facts", []), *self.aggregate.collect_events()]
        lived, replayed = self.aggregate, None
        for fact in self._facts:
            replayed = fact.mutate(replayed)
        assert replayed == lived
        self.aggregate = replayed


def _told(event: Any) -> tuple[str, dict[str, Any]]:
    return event.TOPIC, {k: v for k, v in vars(event).items() if k not in _OF_EVERY_FACT}
