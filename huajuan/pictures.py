"""Keeps pictures, in a folder or wherever else obstore can, under keys that are never reused."""

import asyncio
import contextlib
import os
import re
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, GenericError, NotSupportedError
from obstore.store import LocalStore, ObjectStore, from_url

# Raised where a store cannot put on condition: the last is what obstore's own error for it derives from.
_UNCONDITIONAL = (GenericError, NotSupportedError, RuntimeError)
_KEY = re.compile(r"[0-9a-f]{32}\.png")
# No picture's key, so it is never served.
OWNER_KEY = "huajuan-installation"


class PictureMissing(Exception):
    """There is no picture under this key."""


class PlaceUnusable(Exception):
    """Pictures cannot be kept there; the message says why."""


class Stored(NamedTuple):
    """A picture's size in bytes and its strong entity tag, quotes included."""

    size: int
    etag: str


class Pictures:
    """A key is made once for one image and then always stands for the same bytes."""

    def __init__(self, store: ObjectStore, folder: Path | None = None) -> None:
        self._store = store
        self._folder = folder

    @classmethod
    def at(cls, place: str) -> "Pictures":
        """`place` is a folder's path or a URL that obstore takes (`s3://…`, `gs://…`, `az://…`, `memory://`).

        Raises `PlaceUnusable` for what is neither; whether a remote store answers is not asked.
        """
        try:
            if "://" in place and not place.startswith("file://"):
                return cls(from_url(place))
            folder = Path(place.removeprefix("file://")).absolute()
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            return cls(LocalStore(folder), folder)
        except (BaseError, OSError, ValueError) as error:
            # Its own errors go on for lines about where in its code they arose.
            raise PlaceUnusable(str(error).splitlines()[0]) from None

    async def put(self, image_id: UUID, picture: bytes) -> str:
        """Keep the picture so that it survives a crash of the machine; returns its key."""
        key = key_of(image_id)
        await obstore.put_async(self._store, key, picture)
        await self._flush(key)
        return key

    async def put_first(self, image_id: UUID, picture: bytes) -> bool:
        """As `put`, unless there is something under the key already, which stays as it is and is kept as safe.

        True if it is this picture that is kept now.
        """
        key = key_of(image_id)
        is_first = await self._create(key, picture)
        await self._flush(key)
        return is_first

    async def whole(self, key: str) -> bytes:
        """All of a picture's bytes. Raises `PictureMissing`."""
        try:
            found = await obstore.get_async(self._store, _safe(key))
            return bytes(await found.bytes_async())
        except FileNotFoundError:
            raise PictureMissing from None

    async def look(self, key: str) -> Stored:
        """Raises `PictureMissing`."""
        try:
            found = await obstore.head_async(self._store, _safe(key))
        except FileNotFoundError:
            raise PictureMissing from None
        return Stored(found["size"], f'"{key.removesuffix(".png")}"')

    async def read(self, key: str, start: int, end: int) -> bytes:
        """Bytes `start` up to `end`, not included. Raises `PictureMissing`."""
        try:
            return bytes(await obstore.get_range_async(self._store, _safe(key), start=start, end=end))
        except FileNotFoundError:
            raise PictureMissing from None

    async def remove(self, key: str) -> None:
        """For good; one that is not there is gone already."""
        with contextlib.suppress(FileNotFoundError):
            await obstore.delete_async(self._store, _safe(key))

    async def owner(self) -> bytes | None:
        """What the store says of the installation that it belongs to, if it says anything."""
        try:
            found = await obstore.get_async(self._store, OWNER_KEY)
            return bytes(await found.bytes_async())
        except FileNotFoundError:
            return None

    async def set_owner(self, owner: bytes, *, replace: bool = False) -> None:
        """Unless the store says something already, or `replace`."""
        if replace:
            await obstore.put_async(self._store, OWNER_KEY, owner)
        else:
            await self._create(OWNER_KEY, owner)
        await self._flush(OWNER_KEY)

    async def _create(self, key: str, picture: bytes) -> bool:
        try:
            await obstore.put_async(self._store, key, picture, mode="create", use_multipart=False)
        except AlreadyExistsError:
            return False
        except _UNCONDITIONAL:
            return await self._create_unless_seen(key, picture)
        return True

    async def _create_unless_seen(self, key: str, picture: bytes) -> bool:
        """Where a remote store knows no conditions, or a disk no hard links, and says so by an error like any
        other: of two that put at the very same moment the later one stays. What is truly wrong is wrong here too.
        """
        with contextlib.suppress(FileNotFoundError):
            await obstore.head_async(self._store, key)
            return False
        await obstore.put_async(self._store, key, picture)
        return True

    async def _flush(self, key: str) -> None:
        if self._folder:
            with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                await asyncio.to_thread(_flush, self._folder, key)


def key_of(image_id: UUID) -> str:
    return f"{image_id.hex}.png"


def beneath(place: str, name: str) -> str:
    """A place within a place; what is only in memory has none and is a place of its own."""
    return place if place.startswith("memory:") else f"{place.rstrip('/')}/{name}"


def _safe(key: str) -> str:
    """No key of ours has a folder or a dot-dot in it, so none is ever asked of the store."""
    if not _KEY.fullmatch(key):
        raise PictureMissing
    return key


def _flush(folder: Path, key: str) -> None:
    for path, flags in ((folder / key, os.O_RDONLY), (folder, os.O_RDONLY | os.O_DIRECTORY)):
        descriptor = os.open(path, flags)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
