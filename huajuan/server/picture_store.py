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
from huajuan.postgres.connect import connect_blocking
from huajuan.projections.history import picture_sample
from huajuan.runtime.redaction import without_address_secrets
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
    """The store does not have the pictures of this log."""


@dataclass(frozen=True)
class Adoption:
    """The previous owner, and how many of the sampled pictures the store has."""

    before: str
    found: int
    sampled: int
    is_new: bool


def claim_picture_store(settings: Settings, dsn: str) -> UUID | None:
    """The store's id, set by the first start; `None` for a store in memory. Raises `ForeignPictureStore`."""
    if settings.storage_place.startswith(IN_MEMORY):
        return None
    with connect_blocking(dsn) as connection:
        store = _Store(settings, connection)
        if why := None if store.is_known else store.why_foreign():
            raise ForeignPictureStore(
                f"{PREFIX}STORAGE_URL is {settings.storage_shown!r}: {why}. Set it to the store that has the "
                "pictures, or make this store theirs with `./run storage adopt`"
            )
        return store.recorded if store.is_known else store.claim()


def adopt_picture_store(settings: Settings, dsn: str) -> Adoption:
    """Makes the store the one of this installation, whatever it belonged to before."""
    with connect_blocking(dsn) as connection:
        store = _Store(settings, connection)
        sample = picture_sample(connection)
        found = store.count(sample)
        before = "another installation" if store.is_foreign else "this installation"
        if store.is_foreign:
            store.replace_owner()
        if not store.is_known:
            store.claim()
        return Adoption(before if store.owner else "no installation", found, len(sample), not store.is_known)


class _Store:
    """The store with its `owner` object, and the store's id that the database has `recorded`."""

    def __init__(self, settings: Settings, connection: psycopg.Connection) -> None:
        self._settings = settings
        self._connection = connection
        try:
            self._pictures = Pictures.at(settings.storage_place)
        except StorageUnusable as error:
            raise self._unusable(str(error)) from None
        self._installation = load_stream_ids_blocking(connection).installation()
        self.recorded: UUID | None
        (self.recorded,) = connection.execute(_RECORDED).fetchone() or (None,)
        self.owner = self._read_owner()
        self.is_known = self.recorded is not None and self.owner == StoreOwner(
            self._installation, self.recorded
        )
        self.is_foreign = self.owner is not None and self.owner.installation != self._installation

    def why_foreign(self) -> str | None:
        """Why the pictures of the log cannot be in the store, or `None`."""
        if self.is_foreign:
            return "it belongs to another installation"
        sample = picture_sample(self._connection)
        if sample and self.recorded:
            return "it is not the store that the pictures were put into"
        if not sample or self.owner:
            return None
        # A store without an owner object, from an older version. Some pictures may be lost for other reasons.
        found = self.count(sample)
        return f"{found} of {len(sample)} sampled pictures are in it" if found * 2 < len(sample) else None

    def claim(self) -> UUID:
        """Writes the owner object if there is none. Of two simultaneous starts one sets it, both read it."""
        content = msgspec.json.encode(StoreOwner(self._installation, uuid4()))
        self._run(self._pictures.set_owner(content))
        owner = msgspec.json.decode(self._run(self._pictures.owner()) or content, type=StoreOwner)
        self._connection.execute(_RECORD, (owner.store,))
        return owner.store

    def replace_owner(self) -> None:
        owner = StoreOwner(self._installation, uuid4())
        self._run(self._pictures.set_owner(msgspec.json.encode(owner), replace=True))

    def count(self, keys: list[str]) -> int:
        """How many of these pictures the store has."""

        async def exists(key: str) -> bool:
            try:
                await self._pictures.look_up(key)
            except PictureMissing:
                return False
            return True

        async def count() -> int:
            return sum(await asyncio.gather(*map(exists, keys)))

        return self._run(count())

    def _read_owner(self) -> StoreOwner | None:
        """An unreadable object is one of another installation."""
        content = self._run(self._pictures.owner())
        try:
            return msgspec.json.decode(content, type=StoreOwner) if content is not None else None
        except (msgspec.DecodeError, UnicodeDecodeError):
            return StoreOwner(uuid4(), uuid4())

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        async def bounded() -> T:
            async with asyncio.timeout(STORE_SECONDS_MAX):
                return await work

        try:
            return asyncio.run(bounded())
        except TimeoutError:
            raise self._unusable(f"it does not answer within {STORE_SECONDS_MAX} s") from None
        except (BaseError, OSError) as error:
            raise self._unusable(str(error).splitlines()[0]) from None

    def _unusable(self, why: str) -> SettingsError:
        reason = without_address_secrets(why, self._settings.storage_place)
        return SettingsError(f"{PREFIX}STORAGE_URL is {self._settings.storage_shown!r}: {reason}")
