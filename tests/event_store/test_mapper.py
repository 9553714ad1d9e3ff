"""The mapper: events round-trip, old versions stay readable, personal fields are encrypted."""

from dataclasses import field
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from cryptography.exceptions import InvalidTag
from eventsourcing.persistence import StoredEvent

from huajuan.domain.account import Account
from huajuan.domain.aggregate import AggregateRoot, CreatedEvent
from huajuan.event_store.mapper import EventMapper
from tests.event_store import samples
from tests.event_store.samples import ANN, BEN, LOST, PICTURE, OneKey, a_life

MAPPER = EventMapper(keys=OneKey())


class Thing(AggregateRoot):
    TOPIC = "thing"

    class Created(CreatedEvent):
        TOPIC = "thing.created"

    class Renamed(AggregateRoot.Event):
        TOPIC = "thing.renamed"
        class_version = 3
        title: str
        tags: list[str] = field(default_factory=list, kw_only=True)

        @staticmethod
        def upcast_v1_v2(state: dict[str, Any]) -> None:
            state["name"] = state.pop("label")

        @staticmethod
        def upcast_v2_v3(state: dict[str, Any]) -> None:
            state["title"] = state.pop("name")


@pytest.mark.parametrize("event", a_life(), ids=lambda e: type(e).__qualname__)
def test_every_event_round_trips(event: Any) -> None:
    back = MAPPER.to_domain_event(MAPPER.to_stored_event(event))
    assert (type(back), vars(back)) == (type(event), vars(event))


def test_every_topic_has_a_stored_sample() -> None:
    assert {row.topic for row in samples.load().values()} >= samples.shipped_topics()
    assert len(samples.shipped_topics()) >= 16


@pytest.mark.parametrize(("name", "row"), samples.load().items(), ids=samples.load())
def test_every_stored_sample_decodes(name: str, row: StoredEvent) -> None:
    event = MAPPER.to_domain_event(row)
    assert row.topic == type(event).TOPIC
    for attribute in vars(event):
        # A field that an older version lacks is unknown.
        assert getattr(event, attribute) is not None or attribute in ("state", "size", "command_id")


def test_the_samples_have_the_expected_values() -> None:
    events = {name: MAPPER.to_domain_event(row) for name, row in samples.load().items()}
    registered, held = events["account.registered v1"], events["account.points_held v1"]
    assert (registered.username, registered.email, registered.password_hash) == (
        "ann",
        "ann@example.org",
        "$2b$hash",
    )
    assert (held.image_id, held.points, held.balance) == (PICTURE, 20, 85)
    assert (events["image.requested v1"].prompt, events["image.requested v1"].seed) == ("sun", "7")
    assert (events["image.requested v1"].workflow, events["image.requested v2"].workflow) == ("", "ef" * 32)
    first, before, now = (events[f"image.drawn v{version}"] for version in (1, 2, 3))
    assert (first.digest, first.checkpoint, first.painter, first.size) == ("ab" * 32, "", "", None)
    assert (before.digest, before.checkpoint, before.painter) == ("ab" * 32, "ink.safetensors", "0.33.0")
    assert (before.size, now.size) == (None, 1234)
    assert events["account.snapshot v1"].mutate(None).email == "new@example.org"


@pytest.mark.parametrize("plain", [b"ann", b"example", b"$2b$", b"sun", b'"7"', b"mistake", b"spam", b"runs"])
def test_no_personal_text_is_stored_in_plain(plain: bytes) -> None:
    for event in a_life():
        assert plain not in MAPPER.to_stored_event(event).state


class Erased(dict[UUID, None]):
    """No account has a key."""

    def __missing__(self, subject: UUID) -> None:
        return None


def test_personal_fields_of_an_erased_account_are_none() -> None:
    for event in a_life():
        back = EventMapper(keys=Erased()).to_domain_event(MAPPER.to_stored_event(event))
        changed = {k for k, v in vars(event).items() if vars(back)[k] != v}
        assert changed == set(MAPPER._spec(type(event)).personal)
        assert all(vars(back)[k] is None for k in changed)


@pytest.mark.parametrize(
    ("topic", "field", "text"),
    [
        ("account.avatar_changed", "url", "https://example.org/a.png"),
        ("account.points_granted", "reason", "welcome"),
        ("account.points_deducted", "reason", "a mistake"),
        ("account.banned", "reason", "spam"),
        ("account.unbanned", "reason", "forgiven"),
        ("admin.granted", "reason", "runs the service"),
        ("admin.revoked", "reason", "on leave"),
        ("admin.granted_again", "reason", "is back"),
    ],
)
def test_fields_encrypted_since_version_2_read_the_same_in_both(topic: str, field: str, text: str) -> None:
    stored = samples.load()
    for version in (1, 2):
        row = stored[f"{topic} v{version}"]
        assert (text.encode() in row.state) == (version == 1)
        read = getattr(MAPPER.to_domain_event(row), field)
        assert (read, type(read)) == (text, str)
        assert getattr(EventMapper(keys=Erased()).to_domain_event(row), field) is None


def test_an_encrypted_value_cannot_be_moved_to_another_event() -> None:
    moved = MAPPER.to_stored_event(a_life()[0])
    elsewhere = StoredEvent(uuid4(), moved.originator_version, moved.topic, moved.state)
    with pytest.raises(InvalidTag):
        MAPPER.to_domain_event(elsewhere)


def test_the_needed_keys_are_known_before_encoding_and_decoding() -> None:
    events = a_life()
    rows = [MAPPER.to_stored_event(e) for e in events]
    assert MAPPER.subjects(rows) == MAPPER.subjects_of_events(events) == {ANN, BEN}
    drawn = [r for r in rows if r.topic == "image.drawn"]
    assert MAPPER.subjects(drawn) == set()
    requested = [r for r in rows if r.topic == "image.requested" and r.originator_id == LOST]
    assert MAPPER.subjects(requested) == {ANN}


@pytest.mark.parametrize(
    "state",
    [
        {"label": "x"},
        {"class_version": 2, "name": "x"},
        {"class_version": 3, "title": "x"},
    ],
)
def test_an_old_version_is_upcast_step_by_step(state: dict[str, Any]) -> None:
    stored = {"timestamp": "2026-01-01T00:00:00Z", "actor": None, "correlation_id": None} | state
    event = MAPPER.to_domain_event(StoredEvent(ANN, 2, "thing.renamed", msgspec.json.encode(stored)))
    assert (event.title, event.tags) == ("x", None)


def test_a_missing_metadata_field_is_none() -> None:
    stored = msgspec.json.encode({"timestamp": "2026-01-01T00:00:00Z", "password_hash": None})
    event = MAPPER.to_domain_event(StoredEvent(ANN, 2, "account.password_changed", stored))
    assert isinstance(event, Account.PasswordChanged)
    assert (event.actor, event.correlation_id) == (None, None)


def test_the_command_id_is_stored_only_where_there_is_one() -> None:
    with_command = MAPPER.to_stored_event(samples.of_a_command())
    assert b'"command_id":"00000000000000000000000000000007.0"' in with_command.state
    assert MAPPER.to_domain_event(with_command).command_id == "00000000000000000000000000000007.0"
    for event in a_life():
        row = MAPPER.to_stored_event(event)
        assert b"command_id" not in row.state
        assert getattr(MAPPER.to_domain_event(row), "command_id", None) is None
