"""The decoder of the folds: equal to the mapper, with upcasts, and robust to single broken events."""

from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from eventsourcing.persistence import StoredEvent

from huajuan.domain.account import Account
from huajuan.domain.image import Image
from huajuan.event_store.mapper import EventMapper
from huajuan.projections.engine.fold import LogRow, PageDecoder, UndecodableEvent
from tests.event_store import samples
from tests.event_store.samples import ANN, BEN, OneKey

MAPPER = EventMapper(keys=OneKey())
STORED = [row for row in samples.load().values() if not row.topic.endswith("snapshot")]
KEY = AESGCM(b"k" * 32)


def rows(stored: list[Any]) -> list[LogRow]:
    return [
        (row.originator_id.bytes, row.originator_version, row.topic, row.state, position)
        for position, row in enumerate(stored, 1)
    ]


def decode(page: list[LogRow], key: AESGCM | None = KEY) -> list[Any]:
    decoder = PageDecoder({ANN: key, BEN: key})
    parsed = decoder.parse(page)
    assert parsed.subjects <= {ANN, BEN}
    return decoder.finish(parsed)


def fields(event: Any) -> dict[str, Any]:
    names = getattr(event, "__struct_fields__", None) or vars(event)
    return {name: getattr(event, name) for name in names}


def test_every_sample_is_decoded_as_by_the_mapper() -> None:
    mapped = [MAPPER.to_domain_event(row) for row in STORED]
    read = decode(rows(STORED))
    assert [position for position, _, _ in read] == list(range(1, len(STORED) + 1))
    assert [kind for _, kind, _ in read] == [type(event) for event in mapped]
    assert [fields(event) for _, _, event in read] == [vars(event) for event in mapped]
    upcast = {type(event) for _, kind, event in read if type(event) is kind}
    assert upcast >= {Image.Requested, Image.Drawn}


def test_an_undecodable_event_does_not_affect_others() -> None:
    broken = StoredEvent(ANN, 9, "account.points_granted", b'{"points":"many"}')
    whole = STORED[0]
    read = decode(rows([whole, broken, whole]))
    assert [kind for _, kind, _ in read] == [Account.Registered, UndecodableEvent, Account.Registered]
    assert (read[1][2].topic, read[1][2].originator_id) == ("account.points_granted", ANN)
    assert read[2][2].username == "ann"


def test_without_a_key_personal_fields_are_none() -> None:
    ((_, _, event),) = decode(rows(STORED[:1]), None)
    assert (event.username, event.email) == (None, None)
