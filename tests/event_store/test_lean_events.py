"""Lean events say what the mapper's say, field by field, so that folds cannot tell one from the other."""

from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from eventsourcing.persistence import StoredEvent
from eventsourcing.utils import resolve_topic

from huajuan.event_store.mapper import EventMapper, EventSpec
from huajuan.event_store.struct_events import LeanKind
from huajuan.projections.registry import PROJECTIONS
from tests.event_store import samples
from tests.event_store.samples import ANN, OneKey, a_life

MAPPER = EventMapper(keys=OneKey())
FOLDED = frozenset().union(*(projection.topics for projection in PROJECTIONS))
NEWEST = [row for row in map(MAPPER.to_stored_event, a_life()) if row.topic in FOLDED]


def kind_of(topic: str) -> LeanKind:
    return LeanKind(EventSpec(resolve_topic(topic)))


def lean(row: StoredEvent, key: AESGCM | None) -> Any:
    kind = kind_of(row.topic)
    event = kind.decode(row.state)
    event.originator_id, event.originator_version = row.originator_id, row.originator_version
    kind.unseal(event, key)
    return event


def fields(event: Any) -> dict[str, Any]:
    return {name: getattr(event, name) for name in event.__struct_fields__}


def is_newest(row: StoredEvent) -> bool:
    return row.state.endswith(kind_of(row.topic).ending)


def test_every_kind_that_is_folded_is_here() -> None:
    assert {row.topic for row in NEWEST} == FOLDED


@pytest.mark.parametrize("row", NEWEST, ids=lambda row: row.topic)
def test_a_lean_event_has_every_field_and_says_the_same(row: StoredEvent) -> None:
    assert is_newest(row)
    assert fields(lean(row, AESGCM(b"k" * 32))) == vars(MAPPER.to_domain_event(row))


@pytest.mark.parametrize(("name", "row"), samples.load().items(), ids=samples.load())
def test_every_stored_sample_is_lean_or_older(name: str, row: StoredEvent) -> None:
    if row.topic in FOLDED and is_newest(row):
        assert fields(lean(row, AESGCM(b"k" * 32))) == vars(MAPPER.to_domain_event(row))
    elif row.topic in FOLDED:
        assert not name.endswith(f" v{EventSpec(resolve_topic(row.topic)).version}")


@pytest.mark.parametrize("row", NEWEST, ids=lambda row: row.topic)
def test_an_erased_person_reads_as_none_and_the_rest_stays(row: StoredEvent) -> None:
    personal = dict.fromkeys(name for name, _ in kind_of(row.topic).personal)
    assert fields(lean(row, None)) == vars(MAPPER.to_domain_event(row)) | personal


def test_a_field_that_an_old_event_lacks_is_unknown_not_now() -> None:
    stored = b'{"timestamp":"2026-01-01T00:00:00Z","email":null}'
    row = StoredEvent(ANN, 2, "account.email_changed", stored)
    event = lean(row, None)
    assert fields(event) == vars(EventMapper(keys={ANN: None}).to_domain_event(row))
    assert (event.actor, event.correlation_id) == (None, None)
