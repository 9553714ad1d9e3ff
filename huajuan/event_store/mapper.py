"""Turns events into stored rows and back: JSON by msgspec, upcast by version, personal fields sealed."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, NotRequired, Protocol, TypedDict, get_args, get_origin, get_type_hints
from uuid import UUID

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from eventsourcing.domain import DomainEventProtocol
from eventsourcing.persistence import Mapper, StoredEvent
from eventsourcing.utils import get_topic, resolve_topic

import huajuan.domain.registry  # noqa: F401  each event that may be read must have its class
from huajuan.domain.aggregate import Personal, Plain
from huajuan.event_store.encryption import place_of, seal, unseal
from huajuan.event_store.errors import PersonErased, Unstorable

_encode = msgspec.json.Encoder().encode
# Of 64 bits without a sign.
_IN_NO_TABLE = frozenset({"noise_seed"})
_NOT_STORED_IN_STATE = ("originator_id", "originator_version")


class Keys(Protocol):
    """The personal keys at hand: `None` for an erased person."""

    def __getitem__(self, subject: UUID, /) -> AESGCM | None: ...


class _Version(msgspec.Struct):
    class_version: int = 1


_version_of = msgspec.json.Decoder(_Version).decode


class EventSpec:
    """All the mapper knows about one event class, worked out once."""

    def __init__(self, cls: type[Any]) -> None:
        hints = get_type_hints(cls, include_extras=True)
        fields = {f.name: f for f in dataclasses.fields(cls) if f.name not in _NOT_STORED_IN_STATE}
        self.cls = cls
        self.topic = get_topic(cls)
        self.version: int = getattr(cls, "class_version", 1)
        self.ending = b',"class_version":%d}' % self.version
        self.subject: str = getattr(cls, "subject", "originator_id")
        self.personal = {
            name: msgspec.json.Decoder(hints[name]).decode for name in fields if _is_personal(hints[name])
        }
        self.unknown_when_absent = tuple(
            n for n, f in fields.items() if f.default_factory is not dataclasses.MISSING
        )
        self.type = _stored_type(cls.__name__, hints | dict.fromkeys(self.personal, str | None), fields)
        self.decode: Callable[[bytes], dict[str, Any]] = msgspec.json.Decoder(self.type).decode
        self.subject_of = _subject_reader(self.subject)


def _is_personal(hint: Any) -> bool:
    if get_origin(hint) is Annotated:
        return Personal in get_args(hint)[1:]
    return any(_is_personal(part) for part in get_args(hint))


def _stored_type(name: str, hints: Mapping[str, Any], fields: Mapping[str, "dataclasses.Field[Any]"]) -> Any:
    types: dict[str, Any] = {
        n: NotRequired[hints[n]] if _has_default(f) else hints[n] for n, f in fields.items()
    }
    return TypedDict(name, types | {"class_version": NotRequired[int]})  # type: ignore[operator]


def _has_default(field: "dataclasses.Field[Any]") -> bool:
    return field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING


def _subject_reader(subject: str) -> Callable[[StoredEvent], UUID]:
    if subject == "originator_id":
        return lambda row: row.originator_id  # type: ignore[return-value]
    peek = msgspec.json.Decoder(msgspec.defstruct("Peek", [(subject, UUID)])).decode
    return lambda row: getattr(peek(row.state), subject)


class EventMapper(Mapper[UUID]):
    """Maps with the personal keys of `keys`, which must hold each subject's before it is asked for."""

    keys: Keys

    def __init__(self, *_: Any, keys: Keys | None = None, **__: Any) -> None:
        self.keys = keys if keys is not None else type(self).keys
        self._by_class: dict[type[Any], EventSpec] = {}
        self._by_topic: dict[str, EventSpec] = {}

    def to_stored_event(self, domain_event: DomainEventProtocol[UUID]) -> StoredEvent:
        spec = self._spec(type(domain_event))
        state = dict(vars(domain_event))
        stream: UUID = state.pop("originator_id")
        version: int = state.pop("originator_version")
        for name, value in state.items():
            if not _is_storable(name, value):
                raise Unstorable(f"{spec.topic}: {name}")
        if spec.version > 1:
            state["class_version"] = spec.version
        if spec.personal:
            self._seal(spec, stream, version, state)
        return StoredEvent(stream, version, spec.topic, _encode(state))

    def to_domain_event(self, stored_event: StoredEvent) -> Any:
        stream, version = stored_event.originator_id, stored_event.originator_version
        spec, state = self.decode(stream, version, stored_event.topic, stored_event.state)  # type: ignore[arg-type]
        return self.make(spec, state)

    def decode(self, stream: UUID, version: int, topic: str, raw: bytes) -> tuple[EventSpec, dict[str, Any]]:
        """The event's fields, personal ones still sealed."""
        spec = self._by_topic.get(topic) or self._spec(resolve_topic(topic))
        state = spec.decode(raw) if spec.version == 1 else _decode(spec, raw)
        state["originator_id"], state["originator_version"] = stream, version
        # An old event that lacks such a field was written before it existed: unknown, not "now".
        for name in spec.unknown_when_absent:
            state.setdefault(name, None)
        return spec, state

    def make(self, spec: EventSpec, state: dict[str, Any]) -> Any:
        """The event, unsealed. It takes the decoded fields as its own."""
        if spec.personal:
            self._unseal(spec, state["originator_id"], state["originator_version"], state)
        event = object.__new__(spec.cls)
        object.__setattr__(event, "__dict__", state)
        return event

    def subjects(self, rows: Iterable[StoredEvent]) -> set[UUID]:
        """The people whose keys are needed to read these rows."""
        specs = ((row, self._spec_of_topic(row.topic)) for row in rows)
        return {spec.subject_of(row) for row, spec in specs if spec.personal}

    def subjects_of_events(self, events: Iterable[DomainEventProtocol[UUID]]) -> set[UUID]:
        """The people whose keys are needed to write these events."""
        specs = ((event, self._spec(type(event))) for event in events)
        return {vars(event)[spec.subject] for event, spec in specs if spec.personal}

    def _seal(self, spec: EventSpec, stream: UUID, version: int, state: dict[str, Any]) -> None:
        key = self.keys[stream if spec.subject == "originator_id" else state[spec.subject]]
        for name in spec.personal:
            if state[name] is not None:
                if key is None:
                    raise PersonErased(spec.topic)
                state[name] = seal(key, place_of(stream, version, name), state[name])

    def _unseal(self, spec: EventSpec, stream: UUID, version: int, state: dict[str, Any]) -> None:
        key = self.keys[state[spec.subject]]
        for name, decode in spec.personal.items():
            sealed = state.get(name)
            if sealed is None or key is None:
                state[name] = None
            elif type(sealed) is Plain:
                state[name] = str(sealed)
            else:
                state[name] = unseal(key, place_of(stream, version, name), sealed, decode)

    def _spec(self, cls: type[Any]) -> EventSpec:
        spec = self._by_class.get(cls)
        if spec is None:
            spec = self._by_class[cls] = EventSpec(cls)
            self._by_topic[spec.topic] = spec
        return spec

    def _spec_of_topic(self, topic: str) -> EventSpec:
        return self._by_topic.get(topic) or self._spec(resolve_topic(topic))


def _is_storable(name: str, value: Any) -> bool:
    """Whether a read table could hold it: Postgres has integers of eight bytes, and no NUL in a text."""
    if type(value) is int:
        return value.bit_length() < 64 or name in _IN_NO_TABLE
    return type(value) is not str or "\0" not in value


def _decode(spec: EventSpec, raw: bytes) -> dict[str, Any]:
    if spec.version == 1:
        return spec.decode(raw)
    # Written last, so that the newest is told by its end without reading twice.
    state = (
        spec.decode(raw) if raw.endswith(spec.ending) else _upcast(spec, _version_of(raw).class_version, raw)
    )
    state.pop("class_version", None)
    return state


def _upcast(spec: EventSpec, stored: int, raw: bytes) -> dict[str, Any]:
    """Plain JSON values are lifted version by version, then read as the current fields."""
    state = msgspec.json.decode(raw)
    for version in range(stored, spec.version):
        getattr(spec.cls, f"upcast_v{version}_v{version + 1}")(state)
    state.pop("class_version", None)
    return msgspec.convert(state, spec.type)  # type: ignore[no-any-return]
