"""Serves pictures: no token, strong tags, whole or in part."""

import re
from typing import Any, NamedTuple
from uuid import UUID

from litestar import Request, Response, route
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath

from huajuan.domain.image import Image, shown
from huajuan.domain.refusals import ImageNotFound
from huajuan.http import messages
from huajuan.http.errors import Refusal
from huajuan.http.middleware.request_id import request_id
from huajuan.http.openapi.operations import BUSY, Exact, Said, Unplanned, replies
from huajuan.http.serializers import PICTURE_KEY
from huajuan.http.services import AtDesk
from huajuan.storage.pictures import PNG, PictureChanged, PictureMissing, Pictures, Stored

CACHE_SECONDS = 300
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


PICTURE_REPLIES = {
    200: ResponseSpec(bytes, description="The whole picture.", media_type=PNG, generate_examples=False),
    206: ResponseSpec(bytes, description="The range asked for.", media_type=PNG, generate_examples=False),
    304: ResponseSpec(None, description="The client has it already.", generate_examples=False),
    416: ResponseSpec(None, description="The range lies behind the end.", generate_examples=False),
    **replies({404: (Said, [{"message": messages.IMAGE_NOT_FOUND}]), 503: (Said, BUSY)}),
}
CHANGED = {"message": messages.UNPLANNED, "request_id": "5f0c6a1e9d6b4d0f8a3c2b1e7d9f4a60"}


class Part(NamedTuple):
    """Bytes `start` up to `end`, not included."""

    start: int
    end: int


@route(
    "/images/{key:str}",
    tags=["Images"],
    http_method=["GET", "HEAD"],
    status_code=200,
    media_type=PNG,
    operation_class=Exact,
    responses={**PICTURE_REPLIES, **replies({500: (Unplanned, [CHANGED])})},
)
async def picture(request: Request[Any, Any, Any], key: FromPath[str], desk: AtDesk) -> Response[bytes]:
    """One picture as PNG. 500 if what is stored is not what was drawn."""
    try:
        image = shown(await desk.store.find(Image, _image_of(key)))
        stored = await desk.pictures.look(key)
        desk.pictures.expect(key, stored.size, image.size)
        return await answer(request, key, stored, desk.pictures)
    except (PictureMissing, ImageNotFound):
        raise Refusal(404, message=messages.IMAGE_NOT_FOUND) from None
    except PictureChanged:
        raise Refusal(500, message=messages.UNPLANNED, request_id=request_id()) from None


def _image_of(key: str) -> UUID:
    if not PICTURE_KEY.fullmatch(key):
        raise PictureMissing
    return UUID(key[:32])


async def answer(
    request: Request[Any, Any, Any], key: str, stored: Stored, pictures: Pictures
) -> Response[bytes]:
    """A picture whole, in part, or not again. Raises `PictureMissing` and `StoreAway`."""
    headers = {
        "ETag": stored.etag,
        "Cache-Control": f"public, max-age={CACHE_SECONDS}",
        "Accept-Ranges": "bytes",
    }
    if _is_known(request, stored):
        return Response(b"", status_code=304, headers=headers)
    part = _part_asked_for(request, stored)
    if part is None:
        return await _send(request, key, Part(0, stored.size), 200, headers, pictures)
    if part.start >= part.end:
        headers["Content-Range"] = f"bytes */{stored.size}"
        return Response(b"", status_code=416, headers=headers, media_type=PNG)
    headers["Content-Range"] = f"bytes {part.start}-{part.end - 1}/{stored.size}"
    return await _send(request, key, part, 206, headers, pictures)


async def _send(
    request: Request[Any, Any, Any],
    key: str,
    part: Part,
    status: int,
    headers: dict[str, str],
    pictures: Pictures,
) -> Response[bytes]:
    if request.method == "HEAD":
        headers["Content-Length"] = str(part.end - part.start)
        return Response(b"", status_code=status, headers=headers, media_type=PNG)
    content = await pictures.read(key, part.start, part.end)
    return Response(content, status_code=status, headers=headers, media_type=PNG)


def _is_known(request: Request[Any, Any, Any], stored: Stored) -> bool:
    tags = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    return stored.etag in tags or tags == ["*"]


def _part_asked_for(request: Request[Any, Any, Any], stored: Stored) -> Part | None:
    """One range; anything else, or a range of an older picture, is answered whole."""
    asked = _RANGE.fullmatch(request.headers.get("range", "").strip())
    if not asked or asked.groups() == ("", "") or not _is_same(request, stored):
        return None
    first, last = asked.groups()
    if not first:
        return Part(max(0, stored.size - int(last)), stored.size)
    if last and int(last) < int(first):
        return None
    return Part(int(first), min(int(last) + 1, stored.size) if last else stored.size)


def _is_same(request: Request[Any, Any, Any], stored: Stored) -> bool:
    return bool(request.headers.get("if-range", stored.etag) == stored.etag)
