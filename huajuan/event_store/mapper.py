"""Encodes events as rows of the log and decodes them:

JSON, upcasts of older versions, encrypted personal fields.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, Any, NotRequired, Protocol, TypedDict, get_args, get_origin, get_type_hints
from uuid import UUID

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from eventsourcing.domain import DomainEventProtocol
from eventsourcing.persistence import Mapper, StoredEvent
from eventsourcing.utils import get_topic, resolve_topic

import huajuan.domain.registry  # noqa: F401  registers the class of each topic
from huajuan.domain.aggregate import Personal, Plain
from huajuan.event_store.errors import PersonErased, Unstorable
from huajuan.event_store.personal_keys import associated_data, decrypt_field, encrypt_field

_encode = msgspec.json.Encoder().encode
# An unsigned integer of 64 bits, which no read table has as a column.
_IN_NO_TABLE = frozenset({"noise_seed"})
_NOT_STORED_IN_STATE = ("originator_id", "originator_version")
_OMITTED_WHEN_NONE = "command_id"


class Keys(Protocol):
    """The personal keys in memory: `None` for an erased person."""

    def __getitem__(self, subject: UUID, /) -> AESGCM | None: ...


class _Version(msgspec.Struct):
    class_version: int = 1


_version_of = msgspec.json.Decoder(_Version).decode


class EventSpec:
    """The fields of one event class, computed once."""

    def __init__(self, cls: type[Any]) -> None:
        hints = get_type_hints(cls, include_extras=True)
        fields = {f.name: f for f in dataclasses.fields(cls) if f.name not in _NOT_STORED_IN_STATE}
        self.cls = cls
        self.topic = get_topic(cls)
        self.version: int = getattr(cls, "class_version", 1)
        # The version is the last field, so the newest version is recognised without parsing.
        self.newest_suffix = b',"class_version":%d}' % self.version
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
    """Uses the personal keys in `keys`. They must be loaded before an event is encoded or decoded."""

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
        if state.get(_OMITTED_WHEN_NONE, "") is None:
            del state[_OMITTED_WHEN_NONE]
        if spec.version > 1:
            state["class_version"] = spec.version
        if spec.personal:
            self._encrypt(spec, stream, version, state)
        return StoredEvent(stream, version, spec.topic, _encode(state))

    def to_domain_event(self, stored_event: StoredEvent) -> Any:
        stream: UUID = stored_event.originator_id  # type: ignore[assignment]
        version, topic = stored_event.originator_version, stored_event.topic
        spec, state = self.decode(stream, version, topic, stored_event.state)
        return self.make(spec, state)

    def decode(self, stream: UUID, version: int, topic: str, raw: bytes) -> tuple[EventSpec, dict[str, Any]]:
        """The event's fields. Personal fields are still encrypted."""
        spec = self._by_topic.get(topic) or self._spec(resolve_topic(topic))
        state = spec.decode(raw) if spec.version == 1 else _decode(spec, raw)
        state["originator_id"], state["originator_version"] = stream, version
        # An event that lacks such a field is older than the field: its value is unknown.
        for name in spec.unknown_when_absent:
            state.setdefault(name, None)
        return spec, state

    def make(self, spec: EventSpec, state: dict[str, Any]) -> Any:
        """The event with its personal fields decrypted. The event takes over the dictionary `state`."""
        if spec.personal:
            self._decrypt(spec, state)
        event = object.__new__(spec.cls)
        object.__setattr__(event, "__dict__", state)
        return event

    def subjects(self, rows: Iterable[StoredEvent]) -> set[UUID]:
        """The accounts whose keys are needed to decode these rows."""
        specs = ((row, self._spec_of_topic(row.topic)) for row in rows)
        return {spec.subject_of(row) for row, spec in specs if spec.personal}

    def subjects_of_events(self, events: Iterable[DomainEventProtocol[UUID]]) -> set[UUID]:
        """The accounts whose keys are needed to encode these events."""
        specs = ((event, self._spec(type(event))) for event in events)
        return {vars(event)[spec.subject] for event, spec in specs if spec.personal}

    def _encrypt(self, spec: EventSpec, stream: UUID, version: int, state: dict[str, Any]) -> None:
        key = self.keys[stream if spec.subject == "originator_id" else state[spec.subject]]
        for name in spec.personal:
            if state[name] is not None:
                if key is None:
                    raise PersonErased(spec.topic)
                state[name] = encrypt_field(key, associated_data(stream, version, name), state[name])

    def _decrypt(self, spec: EventSpec, state: dict[str, Any]) -> None:
        key = self.keys[state[spec.subject]]
        for name, decode in spec.personal.items():
            value = state.get(name)
            if value is None or key is None:
                state[name] = None
            elif type(value) is Plain:
                state[name] = str(value)
            else:
                data = associated_data(state["originator_id"], state["originator_version"], name)
                state[name] = decrypt_field(key, data, value, decode)

    def _spec(self, cls: type[Any]) -> EventSpec:
        spec = self._by_class.get(cls)
        if spec is None:
            spec = self._by_class[cls] = EventSpec(cls)
            self._by_topic[spec.topic] = spec
        return spec

    def _spec_of_topic(self, topic: str) -> EventSpec:
        return self._by_topic.get(topic) or self._spec(resolve_topic(topic))


def _is_storable(name: str, value: Any) -> bool:
    """Whether a column of a read table can hold it: an integer of eight bytes, a text without NUL."""
    if type(value) is int:
        return value.bit_length() < 64 or name in _IN_NO_TABLE
    return type(value) is not str or "\0" not in value


def _decode(spec: EventSpec, raw: bytes) -> dict[str, Any]:
    if spec.version == 1:
        return spec.decode(raw)
    state = (
        spec.decode(raw)
        if raw.endswith(spec.newest_suffix)
        else _upcast(spec, _version_of(raw).class_version, raw)
    )
    state.pop("class_version", None)
    return state


def _upcast(spec: EventSpec, stored: int, raw: bytes) -> dict[str, Any]:
    """Applies the upcasts to the plain JSON values, then converts them to the types of the current fields."""
    state = msgspec.json.decode(raw)
    for version in range(stored, spec.version):
        getattr(spec.cls, f"upcast_v{version}_v{version + 1}")(state)
    state.pop("class_version", None)
    return msgspec.convert(state, spec.type)  # type: ignore[no-any-return]


class StructDecoder:
    """Decodes the events of one class into structs, several times as fast as the mapper. For rebuilds.

    It only takes rows that end with `newest_suffix`. Rows of older versions need the mapper.
    """

    def __init__(self, spec: EventSpec) -> None:
        self.cls = spec.cls
        self.newest_suffix = spec.newest_suffix if spec.version > 1 else b""
        self.subject = spec.subject
        self.personal = tuple(spec.personal.items())
        # The caller sets stream and version. Personal fields are still encrypted.
        self.decode: Callable[[bytes], Any] = msgspec.json.Decoder(_struct(spec)).decode

    def decrypt(self, event: Any, key: AESGCM | None) -> None:
        """Decrypts the personal fields. Without a key, after an erasure, they become `None`."""
        for name, decode in self.personal:
            value = getattr(event, name)
            data = associated_data(event.originator_id, event.originator_version, name)
            setattr(event, name, value and key and decrypt_field(key, data, value, decode))


def _struct(spec: EventSpec) -> type[msgspec.Struct]:
    fields = [("originator_id", UUID | None, None), ("originator_version", int, 0), *_stored_fields(spec)]
    return msgspec.defstruct(spec.cls.__name__, fields, gc=False, kw_only=True)


def _stored_fields(spec: EventSpec) -> Iterator[tuple[str, Any] | tuple[str, Any, Any]]:
    for name, hint in get_type_hints(spec.type).items():
        if name in spec.type.__required_keys__:
            yield name, hint
        elif name != "class_version":
            yield name, hint, None if name in spec.unknown_when_absent else getattr(spec.cls, name)
