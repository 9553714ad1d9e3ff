"""Reads events for those who fold millions: into structs with an event's fields, without the library's classes."""

from collections.abc import Callable, Iterator
from typing import Any, get_type_hints
from uuid import UUID

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from huajuan.event_store.encryption import place_of, unseal
from huajuan.event_store.mapper import EventSpec


class LeanKind:
    """How events of one class are read. Only rows that end with `ending` are of the newest version, which it knows."""

    def __init__(self, spec: EventSpec) -> None:
        self.cls = spec.cls
        self.ending = spec.ending if spec.version > 1 else b""
        self.subject = spec.subject
        self.personal = tuple(spec.personal.items())
        # All fields but the stream and the version, which the caller sets; personal ones are still sealed.
        self.decode: Callable[[bytes], Any] = msgspec.json.Decoder(_struct(spec)).decode

    def unseal(self, event: Any, key: AESGCM | None) -> None:
        """Makes personal fields readable; those of an erased person, who has no key, are `None`."""
        for name, decode in self.personal:
            sealed = getattr(event, name)
            place = place_of(event.originator_id, event.originator_version, name)
            setattr(event, name, sealed and key and unseal(key, place, sealed, decode))


def _struct(spec: EventSpec) -> type[msgspec.Struct]:
    fields = [("originator_id", UUID | None, None), ("originator_version", int, 0), *_stored_fields(spec)]
    return msgspec.defstruct(spec.cls.__name__, fields, gc=False, kw_only=True)


def _stored_fields(spec: EventSpec) -> Iterator[tuple[str, Any] | tuple[str, Any, Any]]:
    for name, hint in get_type_hints(spec.type).items():
        if name in spec.type.__required_keys__:
            yield name, hint
        elif name != "class_version":
            # Unknown, not "now", as the mapper has it.
            yield name, hint, None if name in spec.unknown_when_absent else getattr(spec.cls, name)
