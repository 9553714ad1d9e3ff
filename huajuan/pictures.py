"""Keeps pictures, in a folder or wherever else obstore can, under keys that are never reused."""

import asyncio
import contextlib
import os
import re
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore, from_url

_KEY = re.compile(r"[0-9a-f]{32}\.png")


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
        if self._folder:
            await asyncio.to_thread(_flush, self._folder, key)
        return key

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
