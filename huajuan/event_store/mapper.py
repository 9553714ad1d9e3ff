"""Encodes events as rows of the log and decodes them: JSON, upcasts, encrypted personal fields."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, NotRequired, Protocol, TypedDict, get_args, get_origin, get_type_hints
from uuid import UUID

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from eventsourcing.domain import DomainEventProtocol
from eventsourcing.persistence import Mapper, StoredEvent
from eventsourcing.utils import get_topic, resolve_topic

import huajuan.domain.registry  # noqa: F401  registers the class of each topic
from huajuan.domain.aggregate import Personal, Unencrypted
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
    """The type of the stored JSON: a field with a default may be absent."""
    types: dict[str, Any] = {"class_version": NotRequired[int]}
    for n, f in fields.items():
        has_default = not (f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING)
        types[n] = NotRequired[hints[n]] if has_default else hints[n]
    return TypedDict(name, types)  # type: ignore[operator]


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
        spec = self._spec_of_topic(stored_event.topic)
        state = spec.decode(stored_event.state) if spec.version == 1 else _upcast(spec, stored_event.state)
        state["originator_id"] = stored_event.originator_id
        state["originator_version"] = stored_event.originator_version
        # An event that lacks such a field is older than the field: its value is unknown.
        for name in spec.unknown_when_absent:
            state.setdefault(name, None)
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
            elif type(value) is Unencrypted:
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


def _upcast(spec: EventSpec, raw: bytes) -> dict[str, Any]:
    """Applies the upcasts to the plain JSON values, then converts them to the types of the current fields."""
    if raw.endswith(spec.newest_suffix):
        state = spec.decode(raw)
    else:
        plain = msgspec.json.decode(raw, type=dict[str, Any])
        stored = msgspec.convert(plain.get("class_version", 1), int)
        for version in range(stored, spec.version):
            getattr(spec.cls, f"upcast_v{version}_v{version + 1}")(plain)
        state = msgspec.convert(plain, spec.type)
    state.pop("class_version", None)
    return state


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
    fields: list[Any] = [("originator_id", UUID | None, None), ("originator_version", int, 0)]
    for name, hint in get_type_hints(spec.type).items():
        if name in spec.type.__required_keys__:
            fields.append((name, hint))
        elif name != "class_version":
            fields.append((name, hint, None if name in spec.unknown_when_absent else getattr(spec.cls, name)))
    return msgspec.defstruct(spec.cls.__name__, fields, gc=False, kw_only=True)
