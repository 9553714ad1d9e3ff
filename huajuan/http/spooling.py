"""Keeps a large request body in a temporary file while it is received, and finds the file of a form in it."""

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

from huajuan.http import messages
from huajuan.http.errors import Refusal
from huajuan.runtime.threads import TooManyWaiting
from huajuan.storage.avatars import UPLOAD_BYTES_MAX, Portraits, PortraitUnfit
from huajuan.storage.pictures import StoreAway

PIECE_BYTES = 64 << 10
MEMORY_BYTES_MAX = 256 << 10
PARTS_MAX = 20
# Set for a route whose body is received so.
SPOOLED = "spooled"
_SPOOL = "spool"
# In each process.
ARRIVING_MAX = 100
ARRIVING_OF_ACCOUNT_MAX = 4
_arriving: Counter[UUID | None] = Counter()


class BodyLost(Exception):
    """The client went away in the middle of its body."""


class Spool:
    """A body in a file that is gone as soon as it is closed."""

    def __init__(self, leave: Callable[[], None]) -> None:
        self._file = tempfile.SpooledTemporaryFile(MEMORY_BYTES_MAX)  # noqa: SIM115
        self._leave = leave
        self._has_place = False

    def take(self, take_place: Callable[[], None]) -> None:
        """A place among those whose pictures are decoded. Raises `TooManyWaiting`."""
        take_place()
        self._has_place = True

    def write(self, piece: bytes) -> None:
        self._file.write(piece)

    def pieces(self) -> Iterator[bytes]:
        self._file.seek(0)
        while piece := self._file.read(PIECE_BYTES):
            yield piece

    def close(self) -> None:
        self._file.close()
        if self._has_place:
            self._has_place = False
            self._leave()


@contextmanager
def _receiving(request: Request[Any, Any, Any]) -> Iterator[None]:
    """Bodies that arrive at once are bounded, also those of one account, which could send them slowly on purpose.

    Raises `TooManyWaiting`.
    """
    claims = request.scope["state"].get("claims")
    account_id = claims.account_id if claims else None
    if sum(_arriving.values()) >= ARRIVING_MAX or _arriving[account_id] >= ARRIVING_OF_ACCOUNT_MAX:
        raise TooManyWaiting
    _arriving[account_id] += 1
    try:
        yield
    finally:
        _arriving[account_id] -= 1
        if not _arriving[account_id]:
            del _arriving[account_id]


async def spooled(request: Request[Any, Any, Any], portraits: Portraits) -> Spool:
    """The request's body, received once.

    Raises `TooManyWaiting`, `BodyLost`, `StoreAway` where a disk is full, and the 413 of what is too large.
    """
    state = request.scope["state"]
    if _SPOOL not in state:
        spool = Spool(portraits.give_place)
        try:
            with _receiving(request):
                async for piece in request.stream():
                    spool.write(piece)
            spool.take(portraits.take_place)
        except BaseException as error:
            spool.close()
            if isinstance(error, InternalServerException):
                raise BodyLost from error
            if isinstance(error, OSError):  # the disk is full, most likely
                raise StoreAway("an upload cannot be kept while it is received") from error
            raise
        state[_SPOOL] = spool
    found: Spool = state[_SPOOL]
    return found


def close_spool(scope: Any) -> None:
    """Where no handler came to it."""
    spool: Spool | None = scope["state"].get(_SPOOL)
    if spool:
        spool.close()


def digest_without(border: bytes, pieces: Iterator[bytes]) -> str:
    """The SHA-256 in hexadecimal of all pieces, without the border that a client makes anew for each copy."""
    digest, rest = hashlib.sha256(), b""
    for piece in pieces:
        *before, rest = (rest + piece).split(border) if border else (piece, b"")
        for part in before:
            digest.update(part)
        # What may be the beginning of a border waits for the next piece.
        keep = min(len(rest), max(0, len(border) - 1))
        digest.update(rest[: len(rest) - keep])
        rest = rest[len(rest) - keep :]
    digest.update(rest)
    return digest.hexdigest()


def file_in(spool: Spool, border: bytes, name: str) -> BinaryIO:
    """The one part of this name, whether or not it is named as a file.

    Raises `PortraitUnfit` where there is none, an empty one or several, 413 for one that is too large, and
    `StoreAway` where a disk is full.
    """
    with ExitStack() as stack:
        file = stack.enter_context(tempfile.SpooledTemporaryFile(MEMORY_BYTES_MAX))
        try:
            size = _copy(spool, border, name, file)
        except MultipartError as error:
            raise PortraitUnfit from error
        except OSError as error:
            raise StoreAway("an upload cannot be kept while it is read") from error
        if not size:
            raise PortraitUnfit
        file.seek(0)
        stack.pop_all()
        return file  # type: ignore[return-value]


def _copy(spool: Spool, border: bytes, name: str, file: Any) -> int:
    size, found, is_wanted = 0, 0, False
    with PushMultipartParser(border, max_segment_count=PARTS_MAX) as parser:
        for event in (event for piece in spool.pieces() for event in parser.parse(piece)):
            if isinstance(event, MultipartSegment):
                is_wanted = event.name == name
                found += is_wanted
            elif event and is_wanted:
                size += file.write(event)
    if found > 1:
        raise PortraitUnfit
    if size > UPLOAD_BYTES_MAX:
        raise Refusal(413, message=messages.BODY_TOO_LARGE)
    return size
