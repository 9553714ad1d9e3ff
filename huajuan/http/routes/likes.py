"""Liking images, and taking likes back."""

from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request

from huajuan.auth.sessions import Claims
from huajuan.commands.likes_and_favorites import like_image, unlike_image
from huajuan.domain.refusals import AlreadyLiked, ImageNotFound, NotLiked
from huajuan.event_store.errors import DatabaseUnavailable
from huajuan.event_store.store import EventStore, after_commit
from huajuan.http import messages
from huajuan.http.errors import ApiError, ErrorTable, UnreadableBody
from huajuan.http.openapi.operations import json_body, operation, query_params
from huajuan.http.openapi.responses import MessageResponse
from huajuan.http.query_params import query_of
from huajuan.http.request_body import read_form, schema_keys
from huajuan.http.serializers import EXAMPLE_PICTURE, image_id_of
from huajuan.http.services import ReadYourWrites
from huajuan.projections.engine.table import ReadTables
from huajuan.projections.history import HISTORY, like_count
from huajuan.projections.likes import LIKES
from huajuan.settings import Settings


class PictureForm(msgspec.Struct):
    """A picture by its address."""

    url: Annotated[str, schema_keys(minLength=1)] = ""


class LikedResponse(MessageResponse, kw_only=True):
    """The likes of the picture, including this one."""

    current_likes: int


ERRORS: ErrorTable = {
    UnreadableBody: ApiError(400, error=messages.URL_MISSING),
    ImageNotFound: ApiError(404, error=messages.IMAGE_NOT_FOUND),
    DatabaseUnavailable: ApiError(500, error=messages.LIKE_FAILED),
}


@operation(
    "Likes",
    examples=[{"message": messages.LIKED, "current_likes": 3}],
    body=json_body(PictureForm, {"url": EXAMPLE_PICTURE}, "url"),
    errors={**ERRORS, AlreadyLiked: ApiError(409, error=messages.ALREADY_LIKED)},
)
async def like(
    request: Request[Any, Any, Any],
    claims: Claims,
    store: EventStore,
    tables: ReadTables,
    settings: Settings,
    read_your_writes: ReadYourWrites,
) -> LikedResponse:
    """Like a picture, once."""
    image_id = _image_id((await read_form(request, PictureForm)).url, settings)
    decided = await like_image(store, claims.account_id, image_id)
    await read_your_writes.wait_for(decided.position, HISTORY, LIKES)
    likes = await _count_likes(image_id, tables, at_least=1)
    return LikedResponse(code=200, message=messages.LIKED, current_likes=likes)


@operation(
    "Likes",
    examples=[{"message": messages.UNLIKED, "current_likes": 3}],
    parameters=query_params("url", url="the picture's address"),
    errors={**ERRORS, NotLiked: ApiError(409, error=messages.NOT_LIKED)},
)
async def unlike(
    request: Request[Any, Any, Any],
    claims: Claims,
    store: EventStore,
    tables: ReadTables,
    settings: Settings,
    read_your_writes: ReadYourWrites,
) -> LikedResponse:
    """Take back one's like."""
    image_id = _image_id(query_of(request, UnreadableBody).get("url", ""), settings)
    decided = await unlike_image(store, claims.account_id, image_id)
    await read_your_writes.wait_for(decided.position, HISTORY, LIKES)
    likes = await _count_likes(image_id, tables, at_least=0)
    return LikedResponse(code=200, message=messages.UNLIKED, current_likes=likes)


def _image_id(url: str, settings: Settings) -> UUID:
    if not url:
        raise UnreadableBody
    image_id = image_id_of(url, settings.public_addresses)
    if image_id is None:
        raise ImageNotFound
    return image_id


async def _count_likes(image_id: UUID, tables: ReadTables, at_least: int) -> int:
    """`at_least` if the table is behind or cannot be read."""
    likes = 0
    with after_commit("count of likes"):
        likes = await like_count(tables, image_id)
    return max(at_least, likes)
