"""Picture files: no token, strong ETags, whole or in part."""

import re
from typing import Any, NamedTuple
from uuid import UUID

from litestar import Request, Response
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath

from huajuan.domain.image import Image, require_visible
from huajuan.domain.refusals import ImageNotFound
from huajuan.event_store.store import EventStore
from huajuan.http import messages
from huajuan.http.errors import ApiError
from huajuan.http.openapi.operations import operation
from huajuan.http.serializers import PICTURE_KEY
from huajuan.runtime.logs import REQUEST_ID
from huajuan.storage.pictures import PNG, PictureChanged, PictureMissing, Pictures, StoredPicture

CACHE_SECONDS = 300
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")
PICTURE_RESPONSES = {
    200: ResponseSpec(bytes, description="The whole picture.", media_type=PNG, generate_examples=False),
    206: ResponseSpec(bytes, description="The range asked for.", media_type=PNG, generate_examples=False),
    304: ResponseSpec(None, description="The client has it already.", generate_examples=False),
    416: ResponseSpec(None, description="The range lies behind the end.", generate_examples=False),
}
NO_SUCH_PICTURE = ApiError(404, message=messages.IMAGE_NOT_FOUND)
PICTURE_CHANGED = ApiError(
    500, message=messages.INTERNAL_ERROR, request_id="5f0c6a1e9d6b4d0f8a3c2b1e7d9f4a60"
)


class ByteRange(NamedTuple):
    """Bytes from `start` up to `end`, which is not included."""

    start: int
    end: int


@operation(
    "Images",
    media_type=PNG,
    responses=PICTURE_RESPONSES,
    errors={PictureMissing: NO_SUCH_PICTURE, ImageNotFound: NO_SUCH_PICTURE},
    raises=(PICTURE_CHANGED,),
)
async def picture(
    request: Request[Any, Any, Any], key: FromPath[str], store: EventStore, pictures: Pictures
) -> Response[bytes]:
    """One picture as PNG. 500 if what is stored is not what was drawn."""
    image = require_visible(await store.find(Image, _image_of(key)))
    try:
        stored = await pictures.look_up(key)
        pictures.check_size(key, stored.size, image.size)
        return await picture_response(request, key, stored, pictures)
    except PictureChanged:
        raise PICTURE_CHANGED.replace(request_id=REQUEST_ID.get()) from None


def _image_of(key: str) -> UUID:
    if not PICTURE_KEY.fullmatch(key):
        raise PictureMissing
    return UUID(key[:32])


async def picture_response(
    request: Request[Any, Any, Any], key: str, stored: StoredPicture, pictures: Pictures
) -> Response[bytes]:
    """200, 206, 304 or 416. Raises `PictureMissing` and `StorageUnavailable`."""
    headers = {
        "ETag": stored.etag,
        "Cache-Control": f"public, max-age={CACHE_SECONDS}",
        "Accept-Ranges": "bytes",
    }
    if _is_cached(request, stored):
        return Response(b"", status_code=304, headers=headers)
    part = _requested_range(request, stored)
    if part is None:
        return await _content(request, key, ByteRange(0, stored.size), 200, headers, pictures)
    if part.start >= part.end:
        headers["Content-Range"] = f"bytes */{stored.size}"
        return Response(b"", status_code=416, headers=headers, media_type=PNG)
    headers["Content-Range"] = f"bytes {part.start}-{part.end - 1}/{stored.size}"
    return await _content(request, key, part, 206, headers, pictures)


async def _content(
    request: Request[Any, Any, Any],
    key: str,
    part: ByteRange,
    status: int,
    headers: dict[str, str],
    pictures: Pictures,
) -> Response[bytes]:
    if request.method == "HEAD":
        headers["Content-Length"] = str(part.end - part.start)
        return Response(b"", status_code=status, headers=headers, media_type=PNG)
    content = await pictures.read(key, part.start, part.end)
    return Response(content, status_code=status, headers=headers, media_type=PNG)


def _is_cached(request: Request[Any, Any, Any], stored: StoredPicture) -> bool:
    tags = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    return stored.etag in tags or tags == ["*"]


def _requested_range(request: Request[Any, Any, Any], stored: StoredPicture) -> ByteRange | None:
    """`None`, the whole picture, unless there is one valid range of this version of the picture."""
    found = _RANGE.fullmatch(request.headers.get("range", "").strip())
    is_current = request.headers.get("if-range", stored.etag) == stored.etag
    if not found or found.groups() == ("", "") or not is_current:
        return None
    first, last = found.groups()
    if not first:
        return ByteRange(max(0, stored.size - int(last)), stored.size)
    if last and int(last) < int(first):
        return None
    return ByteRange(int(first), min(int(last) + 1, stored.size) if last else stored.size)
