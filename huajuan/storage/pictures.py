"""Keeps pictures, in a folder or wherever else obstore can, under keys that are never reused."""

import asyncio
import contextlib
import hashlib
import os
import re
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import obstore
import structlog
from obstore.exceptions import AlreadyExistsError, BaseError, GenericError, NotSupportedError
from obstore.store import LocalStore, ObjectStore, from_url

from huajuan.observability.health import Problem

PNG = "image/png"
# A request is waited for no longer, its own retries included.
READ_SECONDS_MAX = 10.0
WRITE_SECONDS_MAX = 30.0
RETRIES_MAX = 3
CHUNK_BYTES = 1 << 20
# Pictures whose change is remembered as logged.
TOLD_MAX = 10_000
# Raised where a store cannot put on condition: the last is what obstore's own error for it derives from.
_UNCONDITIONAL = (GenericError, NotSupportedError, RuntimeError)
_FAILURES = (BaseError, OSError, RuntimeError, ValueError)
_KEY = re.compile(r"[0-9a-f]{32}\.png")
# No picture's key, so it is never served.
OWNER_KEY = "huajuan-installation"
_logger = structlog.get_logger(__name__)


class PictureMissing(Exception):
    """There is no picture under this key."""


class PlaceUnusable(Exception):
    """Pictures cannot be kept there; the message says why."""


class PictureChanged(Exception):
    """What is stored is not what is on record."""


class StoreAway(OSError):
    """The store does not answer, or refuses; it may work again later."""


class Stored(NamedTuple):
    """A picture's size in bytes and its strong entity tag, quotes included."""

    size: int
    etag: str


class Pictures:
    """A key is made once for one image and then always stands for the same bytes."""

    def __init__(self, store: ObjectStore, folder: Path | None = None) -> None:
        self._store = store
        self._folder = folder
        # A folder has no place for attributes.
        self._attributes: dict[str, Any] = {} if folder else {"attributes": {"Content-Type": PNG}}
        self.is_away = False
        self._told_changed: set[str] = set()

    @classmethod
    def at(cls, place: str, *, make: bool = True) -> "Pictures":
        """`place` is a folder's path or a URL that obstore takes (`s3://…`, `gs://…`, `az://…`, `memory://`).

        A folder is made, or has to be there already. Raises `PlaceUnusable` for what is neither; whether a store
        answers is for `check` to find out.
        """
        try:
            if "://" in place and not place.startswith("file://"):
                return cls(_remote(place))
            folder = Path(place.removeprefix("file://")).absolute()
            if make:
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            return cls(LocalStore(folder), folder)
        except (BaseError, OSError, ValueError) as error:
            raise PlaceUnusable(_line_of(error)) from None

    async def check(self) -> None:
        """Write, read and remove an object. Raises `PlaceUnusable`."""
        key, content = f"probe-{uuid4().hex}", b"written to find out whether pictures can be kept here"
        try:
            async with asyncio.timeout(WRITE_SECONDS_MAX):
                await obstore.put_async(self._store, key, content)
                found = bytes(await (await obstore.get_async(self._store, key)).bytes_async())
                await obstore.delete_async(self._store, key)
        except _FAILURES as error:
            raise PlaceUnusable(_line_of(error)) from None
        if found != content:
            raise PlaceUnusable("what was written there is read as something else")

    def problems(self) -> list[Problem]:
        """A health check: as the last operation found it."""
        detail = "The picture store did not work when it was last used."
        return [Problem("picture_store", detail, blocking=False)] if self.is_away else []

    async def put(self, image_id: UUID, picture: bytes) -> str:
        """Keep the picture so that it survives a crash of the machine; returns its key. Raises `StoreAway`."""
        key = key_of(image_id)
        async with self._writing():
            await obstore.put_async(self._store, key, picture, **self._attributes)
            await self._flush(key)
        return key

    async def put_first(self, image_id: UUID, picture: bytes) -> bool:
        """As `put`, unless there is something under the key already, which stays as it is and is kept as safe.

        True if it is this picture that is kept now.
        """
        key = key_of(image_id)
        async with self._writing():
            is_first = await self._create(key, picture)
            await self._flush(key)
        return is_first

    async def whole(self, key: str) -> bytes:
        """All of a picture's bytes. Raises `PictureMissing` and `StoreAway`."""
        async with self._reading(key):
            found = await obstore.get_async(self._store, key)
            return bytes(await found.bytes_async())

    async def look(self, key: str) -> Stored:
        """Raises `PictureMissing` and `StoreAway`."""
        async with self._reading(key):
            found = await obstore.head_async(self._store, key)
        return Stored(found["size"], f'"{key.removesuffix(".png")}"')

    def expect(self, key: str, found: int, size: int | None) -> None:
        """Raises `PictureChanged` if the size in bytes differs from the one on record, where there is one."""
        if size is None or found == size:
            return
        if key not in self._told_changed:
            if len(self._told_changed) >= TOLD_MAX:
                self._told_changed.clear()
            self._told_changed.add(key)
            _logger.error("stored picture has another size", picture=key, bytes=found, on_record=size)
        raise PictureChanged

    async def read(self, key: str, start: int, end: int) -> bytes:
        """Bytes `start` up to `end`, not included. Raises `PictureMissing` and `StoreAway`."""
        async with self._reading(key):
            return bytes(await obstore.get_range_async(self._store, key, start=start, end=end))

    async def remove(self, key: str) -> None:
        """For good; one that is not there is gone already. Raises `StoreAway`."""
        with contextlib.suppress(PictureMissing):
            async with self._reading(key):
                await obstore.delete_async(self._store, key)

    def digest(self, key: str, size: int | None) -> str | None:
        """The SHA-256 of what is stored, in hexadecimal, read in pieces; `None` if its size is another.

        Blocks. Raises `PictureMissing` and `StoreAway`.
        """
        if (
            self._folder
            and _KEY.fullmatch(key)
            and (path := self._folder / key).exists()
            and not (path.is_file() or path.is_dir())
        ):
            raise StoreAway("what stands in the place of a picture is no file")
        with self._failing(key):
            found = obstore.get(self._store, key)
            if size is not None and found.meta["size"] != size:
                return None
            digest = hashlib.sha256()
            for piece in found.stream(min_chunk_size=CHUNK_BYTES):
                digest.update(piece)
            return digest.hexdigest()

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
            await obstore.put_async(
                self._store, key, picture, mode="create", use_multipart=False, **self._attributes
            )
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
        await obstore.put_async(self._store, key, picture, **self._attributes)
        return True

    async def _flush(self, key: str) -> None:
        if self._folder:
            with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                await asyncio.to_thread(_flush, self._folder, key)

    @contextlib.asynccontextmanager
    async def _writing(self) -> AsyncIterator[None]:
        """A folder that is gone, with its disk perhaps, is not made anew elsewhere."""
        async with self._answering(WRITE_SECONDS_MAX):
            self._need_folder()
            yield

    @contextlib.asynccontextmanager
    async def _reading(self, key: str) -> AsyncIterator[None]:
        with self._failing(key):
            async with self._answering(READ_SECONDS_MAX, FileNotFoundError):
                yield

    @contextlib.contextmanager
    def _failing(self, key: str) -> Iterator[None]:
        """What is missing from a store that is there, and what is wrong with a store that is not."""
        if not _KEY.fullmatch(key):
            raise PictureMissing
        try:
            yield
        except FileNotFoundError:
            self._need_folder()
            raise PictureMissing from None
        except StoreAway:
            raise
        except _FAILURES as error:
            raise StoreAway(_line_of(error)) from None

    @contextlib.asynccontextmanager
    async def _answering(self, seconds_max: float, *answers: type[Exception]) -> AsyncIterator[None]:
        """Any error is a store that is away, but for those that are `answers`."""
        try:
            async with asyncio.timeout(seconds_max):
                yield
        except answers:
            raise
        except _FAILURES as error:
            self._note(away=True, why=_line_of(error))
            raise StoreAway(_line_of(error)) from None
        self._note(away=False)

    def _need_folder(self) -> None:
        if self._folder and not self._folder.is_dir():
            why = f"{self._folder} is not a folder"
            self._note(away=True, why=why)
            raise StoreAway(why)

    def _note(self, *, away: bool, why: str = "") -> None:
        if away != self.is_away:
            self.is_away = away
            if away:
                _logger.error("picture store does not work", reason=why)
            else:
                _logger.info("picture store works again")


def key_of(image_id: UUID) -> str:
    return f"{image_id.hex}.png"


def beneath(place: str, name: str) -> str:
    """A place within a place; what is only in memory has none and is a place of its own."""
    return place if place.startswith("memory:") else f"{place.rstrip('/')}/{name}"


def _remote(place: str) -> ObjectStore:
    """Options of the client would replace all those that the environment gives it, so none are set here."""
    if place.startswith("memory:"):
        return from_url(place)
    seconds_max = timedelta(seconds=READ_SECONDS_MAX)
    return from_url(place, retry_config={"max_retries": RETRIES_MAX, "retry_timeout": seconds_max})


def _line_of(error: BaseException) -> str:
    """Its own errors go on for lines about where in its code they arose."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _flush(folder: Path, key: str) -> None:
    for path, flags in ((folder / key, os.O_RDONLY), (folder, os.O_RDONLY | os.O_DIRECTORY)):
        descriptor = os.open(path, flags)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
