"""Checks at start that the picture store belongs to this installation, by an owner object in the store."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID, uuid4

import msgspec
import psycopg
from obstore.exceptions import BaseError

from huajuan.event_store.stream_ids import load_stream_ids_blocking
from huajuan.observability.redaction import without_address_secrets
from huajuan.postgres.connect import connect_blocking
from huajuan.projections.history import picture_sample
from huajuan.settings import PREFIX, Settings, SettingsError
from huajuan.storage.pictures import PictureMissing, Pictures, StorageUnusable

T = TypeVar("T")
IN_MEMORY = "memory:"
STORE_SECONDS_MAX = 30
_RECORDED = "SELECT picture_store FROM operations.installation"
_RECORD = "UPDATE operations.installation SET picture_store = %s"


class StoreOwner(msgspec.Struct, frozen=True):
    """The content of the owner object: the installation, and the id of the store and its copies."""

    installation: UUID
    store: UUID


class ForeignPictureStore(SettingsError):
    """The store does not have the pictures of this log; the message is one line."""


@dataclass(frozen=True)
class Adoption:
    """The previous owner, and how many of the sampled pictures the store has."""

    before: str
    found: int
    sampled: int
    is_new: bool


@dataclass(frozen=True)
class _StoreState:
    """The store's owner object, and the store's id that the database has `recorded`."""

    installation: UUID
    recorded: UUID | None
    owner: StoreOwner | None

    @property
    def is_known(self) -> bool:
        return self.recorded is not None and self.owner == StoreOwner(self.installation, self.recorded)

    @property
    def is_foreign(self) -> bool:
        return self.owner is not None and self.owner.installation != self.installation

    @property
    def owner_description(self) -> str:
        if self.owner is None:
            return "no installation"
        return "another installation" if self.is_foreign else "this installation"


def claim_picture_store(settings: Settings, dsn: str) -> UUID | None:
    """The store's id, set by the first start; `None` for a store in memory. Raises `ForeignPictureStore`."""
    if settings.storage_place.startswith(IN_MEMORY):
        return None
    pictures = _open(settings)
    with connect_blocking(dsn) as connection:
        state = _read_state(settings, connection, pictures)
        if state.is_known and state.owner:
            return state.owner.store
        sample = picture_sample(connection)
        if state.is_foreign:
            raise ForeignPictureStore(_rejection(settings, "it belongs to another installation"))
        if sample and state.recorded:
            raise ForeignPictureStore(
                _rejection(settings, "it is not the store that the pictures were put into")
            )
        if sample and state.owner is None:
            found = _with_timeout(settings, _count(pictures, sample))
            # A store without an owner object, from an older version. Some pictures may be lost for other
            # reasons.
            if found * 2 < len(sample):
                raise ForeignPictureStore(
                    _rejection(settings, f"{found} of {len(sample)} sampled pictures are in it")
                )
        return _claim(settings, connection, pictures, state.installation).store


def adopt_picture_store(settings: Settings, dsn: str) -> Adoption:
    """Makes the store the one of this installation, whatever it belonged to before."""
    pictures = _open(settings)
    with connect_blocking(dsn) as connection:
        state = _read_state(settings, connection, pictures)
        sample = picture_sample(connection)
        found = _with_timeout(settings, _count(pictures, sample))
        if state.is_foreign:
            owner = StoreOwner(state.installation, uuid4())
            _with_timeout(settings, pictures.set_owner(msgspec.json.encode(owner), replace=True))
        if not state.is_known:
            _claim(settings, connection, pictures, state.installation)
        return Adoption(state.owner_description, found, len(sample), is_new=not state.is_known)


def _open(settings: Settings) -> Pictures:
    try:
        return Pictures.at(settings.storage_place)
    except StorageUnusable as error:
        raise _unusable(settings, str(error)) from None


def _read_state(settings: Settings, connection: psycopg.Connection, pictures: Pictures) -> _StoreState:
    installation = load_stream_ids_blocking(connection).installation()
    (recorded,) = connection.execute(_RECORDED).fetchone() or (None,)
    content = _with_timeout(settings, pictures.owner())
    try:
        owner = msgspec.json.decode(content, type=StoreOwner) if content is not None else None
    except (msgspec.DecodeError, UnicodeDecodeError):
        owner = StoreOwner(uuid4(), uuid4())
    return _StoreState(installation, recorded, owner)


def _claim(
    settings: Settings, connection: psycopg.Connection, pictures: Pictures, installation: UUID
) -> StoreOwner:
    """Writes the owner object if there is none. Of two simultaneous starts one sets it, both read it."""
    content = msgspec.json.encode(StoreOwner(installation, uuid4()))
    _with_timeout(settings, pictures.set_owner(content))
    owner = msgspec.json.decode(_with_timeout(settings, pictures.owner()) or content, type=StoreOwner)
    connection.execute(_RECORD, (owner.store,))
    return owner


async def _count(pictures: Pictures, keys: list[str]) -> int:
    return sum(await asyncio.gather(*(_exists(pictures, key) for key in keys)))


async def _exists(pictures: Pictures, key: str) -> bool:
    try:
        await pictures.look_up(key)
    except PictureMissing:
        return False
    return True


def _with_timeout(settings: Settings, work: Coroutine[Any, Any, T]) -> T:
    async def bounded() -> T:
        async with asyncio.timeout(STORE_SECONDS_MAX):
            return await work

    try:
        return asyncio.run(bounded())
    except TimeoutError:
        raise _unusable(settings, f"it does not answer within {STORE_SECONDS_MAX} s") from None
    except (BaseError, OSError) as error:
        raise _unusable(settings, str(error).splitlines()[0]) from None


def _unusable(settings: Settings, why: str) -> SettingsError:
    reason = without_address_secrets(why, settings.storage_place)
    return SettingsError(f"{PREFIX}STORAGE_URL is {settings.storage_shown!r}: {reason}")


def _rejection(settings: Settings, why: str) -> str:
    return (
        f"{PREFIX}STORAGE_URL is {settings.storage_shown!r}: {why}. Set it to the store that has the "
        "pictures, or make this store theirs with `./run storage adopt`"
    )
