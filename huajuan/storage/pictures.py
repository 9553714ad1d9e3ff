"""Stores pictures in a folder or in an object store, under keys that are never reused."""

import asyncio
import contextlib
import hashlib
import os
import re
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import obstore
import structlog
from obstore.exceptions import AlreadyExistsError, BaseError, GenericError, NotSupportedError
from obstore.store import LocalStore, ObjectStore, from_url

from huajuan.runtime.health import Problem

PNG = "image/png"
# Time limits of one operation, including the retries of the client.
READ_SECONDS_MAX = 10.0
WRITE_SECONDS_MAX = 30.0
RETRIES_MAX = 3
CHUNK_BYTES = 1 << 20
# Changed pictures that are not logged again.
LOGGED_MAX = 10_000
# Raised by a store without conditional puts; obstore's own error for it derives from `RuntimeError`.
_UNCONDITIONAL = (GenericError, NotSupportedError, RuntimeError)
_FAILURES = (BaseError, OSError, RuntimeError, ValueError)
_KEY = re.compile(r"[0-9a-f]{32}\.png")
# Not a valid picture key, so it is never served.
OWNER_KEY = "huajuan-installation"
_logger = structlog.get_logger(__name__)


class PictureMissing(Exception):
    """There is no picture with this key."""


class StorageUnusable(Exception):
    """Pictures cannot be stored at this location; the message is the reason."""


class PictureChanged(Exception):
    """The stored picture differs from its record in the log."""


class StorageUnavailable(OSError):
    """The store does not answer, or rejects the operation; it may work again later."""


class StoredPicture(NamedTuple):
    """Size in bytes and strong entity tag, with quotes."""

    size: int
    etag: str


class Pictures:
    """A key belongs to one image and always has the same bytes."""

    def __init__(self, store: ObjectStore, folder: Path | None = None) -> None:
        self._store = store
        self._folder = folder
        # Files have no attributes.
        self._attributes: dict[str, Any] = {} if folder else {"attributes": {"Content-Type": PNG}}
        self.is_unavailable = False
        self._logged_changed: set[str] = set()

    @classmethod
    def at(cls, place: str, *, make: bool = True) -> "Pictures":
        """`place` is a folder's path or a URL for obstore (`s3://…`, `gs://…`, `az://…`, `memory://`).

        `make` creates a missing folder. Does not connect to a store: see `check`. Raises `StorageUnusable`.
        """
        try:
            if "://" in place and not place.startswith("file://"):
                return cls(_remote(place))
            folder = Path(place.removeprefix("file://")).absolute()
            if make:
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            return cls(LocalStore(folder), folder)
        except (BaseError, OSError, ValueError) as error:
            raise StorageUnusable(_first_line(error)) from None

    async def check(self) -> None:
        """Writes, reads and removes an object. Raises `StorageUnusable`."""
        key, content = f"probe-{uuid4().hex}", b"written to check whether pictures can be stored here"
        try:
            async with asyncio.timeout(WRITE_SECONDS_MAX):
                await obstore.put_async(self._store, key, content)
                found = await self._get(key)
                await obstore.delete_async(self._store, key)
        except _FAILURES as error:
            raise StorageUnusable(_first_line(error)) from None
        if found != content:
            raise StorageUnusable("the store returns other bytes than were written")

    def problems(self) -> list[Problem]:
        """The health check: the result of the last operation."""
        detail = "The picture store did not work when it was last used."
        return [Problem("picture_store", detail, blocking=False)] if self.is_unavailable else []

    async def put(self, image_id: UUID, picture: bytes) -> str:
        """Stores the picture durably (fsync in a folder) and returns its key. Raises `StorageUnavailable`."""
        key = picture_key(image_id)
        async with self._writing():
            await obstore.put_async(self._store, key, picture, **self._attributes)
            await self._flush(key)
        return key

    async def put_if_absent(self, image_id: UUID, picture: bytes) -> bool:
        """Like `put`, unless the key exists: then makes that picture durable. True if this one is stored."""
        key = picture_key(image_id)
        async with self._writing():
            was_stored = await self._create(key, picture)
            await self._flush(key)
        return was_stored

    async def whole(self, key: str) -> bytes:
        """All bytes of a picture. Raises `PictureMissing` and `StorageUnavailable`."""
        async with self._reading(key):
            return await self._get(key)

    async def look_up(self, key: str) -> StoredPicture:
        """Raises `PictureMissing` and `StorageUnavailable`."""
        async with self._reading(key):
            found = await obstore.head_async(self._store, key)
        return StoredPicture(found["size"], f'"{key.removesuffix(".png")}"')

    def check_size(self, key: str, found: int, size: int | None) -> None:
        """Raises `PictureChanged` if the size differs from a recorded one. Logs each picture once."""
        if size is None or found == size:
            return
        if key not in self._logged_changed:
            if len(self._logged_changed) >= LOGGED_MAX:
                self._logged_changed.clear()
            self._logged_changed.add(key)
            _logger.error("stored picture has another size", picture=key, bytes=found, on_record=size)
        raise PictureChanged

    async def read(self, key: str, start: int, end: int) -> bytes:
        """Bytes from `start` up to `end`, exclusive. Raises `PictureMissing` and `StorageUnavailable`."""
        async with self._reading(key):
            return bytes(await obstore.get_range_async(self._store, key, start=start, end=end))

    async def remove(self, key: str) -> None:
        """Removes the picture if it exists. Raises `StorageUnavailable`."""
        with contextlib.suppress(PictureMissing):
            async with self._reading(key):
                await obstore.delete_async(self._store, key)

    def digest(self, key: str, size: int | None) -> str | None:
        """The SHA-256 in hexadecimal, `None` for another size. Blocks. Raises as `read` does."""
        path = self._folder / key if self._folder and _KEY.fullmatch(key) else None
        if path and path.exists() and not (path.is_file() or path.is_dir()):
            raise StorageUnavailable("there is no regular file at the path of the picture")
        with self._mapped_errors(key):
            found = obstore.get(self._store, key)
            if size is not None and found.meta["size"] != size:
                return None
            digest = hashlib.sha256()
            for piece in found.stream(min_chunk_size=CHUNK_BYTES):
                digest.update(piece)
            return digest.hexdigest()

    async def owner(self) -> bytes | None:
        """The content of the owner object, `None` if there is none."""
        with contextlib.suppress(FileNotFoundError):
            return await self._get(OWNER_KEY)
        return None

    async def set_owner(self, owner: bytes, *, replace: bool = False) -> None:
        """Writes the owner object if there is none, or if `replace`."""
        if replace:
            await obstore.put_async(self._store, OWNER_KEY, owner)
        else:
            await self._create(OWNER_KEY, owner)
        await self._flush(OWNER_KEY)

    async def _get(self, key: str) -> bytes:
        return bytes(await (await obstore.get_async(self._store, key)).bytes_async())

    async def _create(self, key: str, picture: bytes) -> bool:
        put = partial(obstore.put_async, self._store, key, picture, **self._attributes)
        try:
            await put(mode="create", use_multipart=False)
        except AlreadyExistsError:
            return False
        except _UNCONDITIONAL:
            # A store without conditional puts, or a disk without hard links: of two simultaneous puts the
            # later one stays. Any other error occurs again here.
            with contextlib.suppress(FileNotFoundError):
                await obstore.head_async(self._store, key)
                return False
            await put()
        return True

    async def _flush(self, key: str) -> None:
        if self._folder:
            with contextlib.suppress(FileNotFoundError):  # removed in between
                await asyncio.to_thread(_flush, self._folder, key)

    @contextlib.asynccontextmanager
    async def _writing(self) -> AsyncIterator[None]:
        """A missing folder is not created again: its disk may be unmounted."""
        async with self._tracked(WRITE_SECONDS_MAX):
            self._check_folder()
            yield

    @contextlib.asynccontextmanager
    async def _reading(self, key: str) -> AsyncIterator[None]:
        with self._mapped_errors(key):
            async with self._tracked(READ_SECONDS_MAX, FileNotFoundError):
                yield

    @contextlib.contextmanager
    def _mapped_errors(self, key: str) -> Iterator[None]:
        """Maps errors to `PictureMissing` and `StorageUnavailable`."""
        if not _KEY.fullmatch(key):
            raise PictureMissing
        try:
            yield
        except FileNotFoundError:
            self._check_folder()
            raise PictureMissing from None
        except _FAILURES as error:
            raise StorageUnavailable(_first_line(error)) from None

    @contextlib.asynccontextmanager
    async def _tracked(self, seconds_max: float, *expected: type[Exception]) -> AsyncIterator[None]:
        """Any error but the `expected` ones means that the store is unavailable."""
        try:
            async with asyncio.timeout(seconds_max):
                yield
        except expected:
            raise
        except _FAILURES as error:
            self._set_unavailable(True, _first_line(error))
            raise StorageUnavailable(_first_line(error)) from None
        self._set_unavailable(False)

    def _check_folder(self) -> None:
        if self._folder and not self._folder.is_dir():
            why = f"{self._folder} is not a folder"
            self._set_unavailable(True, why)
            raise StorageUnavailable(why)

    def _set_unavailable(self, is_unavailable: bool, reason: str = "") -> None:
        if is_unavailable and not self.is_unavailable:
            _logger.error("picture store does not work", reason=reason)
        elif self.is_unavailable and not is_unavailable:
            _logger.info("picture store works again")
        self.is_unavailable = is_unavailable


def picture_key(image_id: UUID) -> str:
    return f"{image_id.hex}.png"


def storage_subfolder(place: str, name: str) -> str:
    """A subfolder of a storage location. A location in memory has none: it is returned unchanged."""
    return place if place.startswith("memory:") else f"{place.rstrip('/')}/{name}"


def _remote(place: str) -> ObjectStore:
    """Sets no client options: they would replace those that the client takes from the environment."""
    if place.startswith("memory:"):
        return from_url(place)
    seconds_max = timedelta(seconds=READ_SECONDS_MAX)
    return from_url(place, retry_config={"max_retries": RETRIES_MAX, "retry_timeout": seconds_max})


def _first_line(error: BaseException) -> str:
    """The first line: errors of obstore continue with source locations."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _flush(folder: Path, key: str) -> None:
    for path, flags in ((folder / key, os.O_RDONLY), (folder, os.O_RDONLY | os.O_DIRECTORY)):
        descriptor = os.open(path, flags)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
