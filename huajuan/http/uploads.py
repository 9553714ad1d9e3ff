"""Receives a large request body in a temporary file, and reads the file of a multipart form from it."""

import hashlib
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, BinaryIO
from uuid import UUID

from litestar import Request
from litestar.exceptions import InternalServerException
from multipart import (  # type: ignore[import-untyped]
    MultipartError,
    MultipartSegment,
    PushMultipartParser,
)

from huajuan.http.errors import BODY_TOO_LARGE
from huajuan.runtime.periodic import TooManyWaiting
from huajuan.storage.avatars import UPLOAD_BYTES_MAX, AvatarMaker, InvalidAvatar
from huajuan.storage.pictures import StorageUnavailable

CHUNK_BYTES = 64 << 10
MEMORY_BYTES_MAX = 256 << 10
PARTS_MAX = 20
# The handler option of a route whose body is received into a spool.
SPOOLED = "spooled"
_SPOOL = "spool"
# Bodies that one process receives at a time.
RECEIVING_MAX = 100
RECEIVING_PER_ACCOUNT_MAX = 4
_receiving_count: Counter[UUID | None] = Counter()


class BodyIncomplete(Exception):
    """The client disconnected before the end of its body."""


class Spool:
    """A request body in a temporary file, which is deleted when the spool is closed."""

    def __init__(self, release: Callable[[], None]) -> None:
        self._file = tempfile.SpooledTemporaryFile(MEMORY_BYTES_MAX)  # noqa: SIM115
        self._release = release
        self._is_reserved = False

    def reserve(self, reserve: Callable[[], None]) -> None:
        """Reserve one of the slots for decoding a picture. Raises `TooManyWaiting`."""
        reserve()
        self._is_reserved = True

    def write(self, chunk: bytes) -> None:
        self._file.write(chunk)

    def chunks(self) -> Iterator[bytes]:
        self._file.seek(0)
        while chunk := self._file.read(CHUNK_BYTES):
            yield chunk

    def close(self) -> None:
        self._file.close()
        if self._is_reserved:
            self._is_reserved = False
            self._release()


@contextmanager
def _limit_receiving(request: Request[Any, Any, Any]) -> Iterator[None]:
    """Limit the bodies received at a time, in total and by account. Raises `TooManyWaiting`.

    The limit by account keeps a client that sends slowly from taking all slots.
    """
    claims = request.scope["state"].get("claims")
    account_id = claims.account_id if claims else None
    if (
        sum(_receiving_count.values()) >= RECEIVING_MAX
        or _receiving_count[account_id] >= RECEIVING_PER_ACCOUNT_MAX
    ):
        raise TooManyWaiting
    _receiving_count[account_id] += 1
    try:
        yield
    finally:
        _receiving_count[account_id] -= 1
        if not _receiving_count[account_id]:
            del _receiving_count[account_id]


async def receive_spool(request: Request[Any, Any, Any], avatar_maker: AvatarMaker) -> Spool:
    """Receive the body of the request; a second call returns the same spool.

    Raises `TooManyWaiting`, `BodyIncomplete`, `StorageUnavailable` if the disk is full, and Litestar's 413.
    """
    state = request.scope["state"]
    if _SPOOL not in state:
        spool = Spool(avatar_maker.release_slot)
        try:
            with _limit_receiving(request):
                async for chunk in request.stream():
                    spool.write(chunk)
            spool.reserve(avatar_maker.reserve_slot)
        except BaseException as error:
            spool.close()
            if isinstance(error, InternalServerException):
                raise BodyIncomplete from error
            if isinstance(error, OSError):  # most likely the disk is full
                raise StorageUnavailable("an upload cannot be kept while it is received") from error
            raise
        state[_SPOOL] = spool
    found: Spool = state[_SPOOL]
    return found


def close_spool(scope: Any) -> None:
    """Close the spool of a request whose handler did not run."""
    spool: Spool | None = scope["state"].get(_SPOOL)
    if spool:
        spool.close()


def digest_without(boundary: bytes, chunks: Iterator[bytes]) -> str:
    """SHA-256 (hexadecimal) of all chunks without the multipart boundary, which differs between retries."""
    digest, rest = hashlib.sha256(), b""
    for chunk in chunks:
        *before, rest = (rest + chunk).split(boundary) if boundary else (chunk, b"")
        for part in before:
            digest.update(part)
        # The end of a chunk may be the start of a boundary, so it waits for the next chunk.
        keep = min(len(rest), max(0, len(boundary) - 1))
        digest.update(rest[: len(rest) - keep])
        rest = rest[len(rest) - keep :]
    digest.update(rest)
    return digest.hexdigest()


def file_in(spool: Spool, boundary: bytes, name: str) -> BinaryIO:
    """The only part of this name, with or without a file name.

    Raises `InvalidAvatar` if there is none, an empty one or several, `ApiError` 413 if it is too large, and
    `StorageUnavailable` if the disk is full.
    """
    with ExitStack() as stack:
        file = stack.enter_context(tempfile.SpooledTemporaryFile(MEMORY_BYTES_MAX))
        try:
            size = _copy(spool, boundary, name, file)
        except MultipartError as error:
            raise InvalidAvatar from error
        except OSError as error:
            raise StorageUnavailable("an upload cannot be kept while it is read") from error
        if not size:
            raise InvalidAvatar
        file.seek(0)
        stack.pop_all()
        return file  # type: ignore[return-value]


def _copy(spool: Spool, boundary: bytes, name: str, file: Any) -> int:
    size, found, is_wanted = 0, 0, False
    with PushMultipartParser(boundary, max_segment_count=PARTS_MAX) as parser:
        for event in (event for chunk in spool.chunks() for event in parser.parse(chunk)):
            if isinstance(event, MultipartSegment):
                is_wanted = event.name == name
                found += is_wanted
            elif event and is_wanted:
                size += file.write(event)
    if found > 1:
        raise InvalidAvatar
    if size > UPLOAD_BYTES_MAX:
        raise BODY_TOO_LARGE
    return size
