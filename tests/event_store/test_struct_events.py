"""Struct events have the same field values as the events of the mapper."""

from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from eventsourcing.persistence import StoredEvent
from eventsourcing.utils import resolve_topic

from huajuan.event_store.mapper import EventMapper, EventSpec, StructDecoder
from huajuan.projections.registry import PROJECTIONS
from tests.event_store import samples
from tests.event_store.samples import ANN, OneKey, a_life

MAPPER = EventMapper(keys=OneKey())
FOLDED = frozenset().union(*(projection.topics for projection in PROJECTIONS))
NEWEST = [row for row in map(MAPPER.to_stored_event, a_life()) if row.topic in FOLDED]


def kind_of(topic: str) -> StructDecoder:
    return StructDecoder(EventSpec(resolve_topic(topic)))


def as_struct(row: StoredEvent, key: AESGCM | None) -> Any:
    kind = kind_of(row.topic)
    event = kind.decode(row.state)
    event.originator_id, event.originator_version = row.originator_id, row.originator_version
    kind.decrypt(event, key)
    return event


def fields(event: Any) -> dict[str, Any]:
    return {name: getattr(event, name) for name in event.__struct_fields__}


def is_newest(row: StoredEvent) -> bool:
    return row.state.endswith(kind_of(row.topic).newest_suffix)


def test_every_folded_topic_is_tested() -> None:
    assert {row.topic for row in NEWEST} == FOLDED


@pytest.mark.parametrize("row", NEWEST, ids=lambda row: row.topic)
def test_a_struct_event_has_the_same_fields_and_values(row: StoredEvent) -> None:
    assert is_newest(row)
    assert fields(as_struct(row, AESGCM(b"k" * 32))) == vars(MAPPER.to_domain_event(row))


@pytest.mark.parametrize(("name", "row"), samples.load().items(), ids=samples.load())
def test_every_stored_sample_of_the_newest_version_decodes(name: str, row: StoredEvent) -> None:
    if row.topic in FOLDED and is_newest(row):
        assert fields(as_struct(row, AESGCM(b"k" * 32))) == vars(MAPPER.to_domain_event(row))
    elif row.topic in FOLDED:
        assert not name.endswith(f" v{EventSpec(resolve_topic(row.topic)).version}")


@pytest.mark.parametrize("row", NEWEST, ids=lambda row: row.topic)
def test_personal_fields_of_an_erased_account_are_none(row: StoredEvent) -> None:
    personal = dict.fromkeys(name for name, _ in kind_of(row.topic).personal)
    assert fields(as_struct(row, None)) == vars(MAPPER.to_domain_event(row)) | personal


def test_a_missing_metadata_field_is_none() -> None:
    stored = b'{"timestamp":"2026-01-01T00:00:00Z","email":null}'
    row = StoredEvent(ANN, 2, "account.email_changed", stored)
    event = as_struct(row, None)
    assert fields(event) == vars(EventMapper(keys={ANN: None}).to_domain_event(row))
    assert (event.actor, event.correlation_id) == (None, None)
