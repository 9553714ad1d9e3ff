"""Checks at start that the picture store is the one that holds this installation's pictures."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID, uuid4

import msgspec
import psycopg
from obstore.exceptions import BaseError

from huajuan.event_store.installation import stream_ids_at_once
from huajuan.observability.redaction import without_address_secrets
from huajuan.postgres.connect import connect_blocking
from huajuan.projections.queries.picture_sample import picture_sample
from huajuan.settings import PREFIX, Settings, SettingsError
from huajuan.storage.pictures import PictureMissing, Pictures, PlaceUnusable

T = TypeVar("T")
IN_MEMORY = "memory:"
STORE_SECONDS_MAX = 30
_RECORDED = "SELECT picture_store FROM operations.installation"
_RECORD = "UPDATE operations.installation SET picture_store = %s"


class Owner(msgspec.Struct, frozen=True):
    """The content of the store's object: the installation, and the name of the store, which its copies share."""

    installation: UUID
    store: UUID


class StoreForeign(SettingsError):
    """The store does not hold the pictures that the log has; the message says so in one line."""


@dataclass(frozen=True)
class Adopted:
    """What the store said before, and how many of the sampled pictures it holds."""

    before: str
    found: int
    sampled: int
    is_new: bool


@dataclass(frozen=True)
class _Look:
    """The store beside the database; `recorded` is the name of the store that the database knows."""

    installation: UUID
    recorded: UUID | None
    owner: Owner | None

    @property
    def is_known(self) -> bool:
        return self.recorded is not None and self.owner == Owner(self.installation, self.recorded)

    @property
    def is_foreign(self) -> bool:
        return self.owner is not None and self.owner.installation != self.installation

    @property
    def owned(self) -> str:
        if self.owner is None:
            return "no installation"
        return "another installation" if self.is_foreign else "this installation"


def claim_store(settings: Settings, dsn: str) -> UUID | None:
    """The name of the store, which it gets at the first start; None for one in memory. Raises `StoreForeign`."""
    if settings.storage_place.startswith(IN_MEMORY):
        return None
    pictures = _opened(settings)
    with connect_blocking(dsn) as connection:
        look = _look(settings, connection, pictures)
        if look.is_known and look.owner:
            return look.owner.store
        sample = picture_sample(connection)
        if look.is_foreign:
            raise StoreForeign(_refusal(settings, "it belongs to another installation"))
        if sample and look.recorded:
            raise StoreForeign(_refusal(settings, "it is not the store that the pictures were put into"))
        if sample and look.owner is None:
            found = _in_time(settings, _count(pictures, sample))
            # A store from before stores had an owner. Some pictures may have been lost by other causes.
            if found * 2 < len(sample):
                raise StoreForeign(_refusal(settings, f"{found} of {len(sample)} sampled pictures are in it"))
        return _claimed(settings, connection, pictures, look.installation).store


def adopt_store(settings: Settings, dsn: str) -> Adopted:
    """From now on the store is the one that holds this installation's pictures."""
    pictures = _opened(settings)
    with connect_blocking(dsn) as connection:
        look = _look(settings, connection, pictures)
        sample = picture_sample(connection)
        found = _in_time(settings, _count(pictures, sample))
        if look.is_foreign:
            owner = Owner(look.installation, uuid4())
            _in_time(settings, pictures.set_owner(msgspec.json.encode(owner), replace=True))
        if not look.is_known:
            _claimed(settings, connection, pictures, look.installation)
        return Adopted(look.owned, found, len(sample), is_new=not look.is_known)


def _opened(settings: Settings) -> Pictures:
    try:
        return Pictures.at(settings.storage_place)
    except PlaceUnusable as error:
        raise _unusable(settings, str(error)) from None


def _look(settings: Settings, connection: psycopg.Connection, pictures: Pictures) -> _Look:
    installation = stream_ids_at_once(connection).installation()
    (recorded,) = connection.execute(_RECORDED).fetchone() or (None,)
    content = _in_time(settings, pictures.owner())
    try:
        owner = msgspec.json.decode(content, type=Owner) if content is not None else None
    except (msgspec.DecodeError, UnicodeDecodeError):
        owner = Owner(uuid4(), uuid4())
    return _Look(installation, recorded, owner)


def _claimed(
    settings: Settings, connection: psycopg.Connection, pictures: Pictures, installation: UUID
) -> Owner:
    """Of two servers that start at once one names the store, and both read which name it has."""
    content = msgspec.json.encode(Owner(installation, uuid4()))
    _in_time(settings, pictures.set_owner(content))
    owner = msgspec.json.decode(_in_time(settings, pictures.owner()) or content, type=Owner)
    connection.execute(_RECORD, (owner.store,))
    return owner


async def _count(pictures: Pictures, keys: list[str]) -> int:
    return sum(await asyncio.gather(*(_is_there(pictures, key) for key in keys)))


async def _is_there(pictures: Pictures, key: str) -> bool:
    try:
        await pictures.look(key)
    except PictureMissing:
        return False
    return True


def _in_time(settings: Settings, work: Coroutine[Any, Any, T]) -> T:
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


def _refusal(settings: Settings, why: str) -> str:
    return (
        f"{PREFIX}STORAGE_URL is {settings.storage_shown!r}: {why}. Name the store that holds the pictures, or make "
        "this one theirs with `./run storage adopt`"
    )
