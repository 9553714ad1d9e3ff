"""Liking images, and taking likes back."""

from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, delete, post

from huajuan.auth.tokens import Me
from huajuan.commands.like_image import like_image
from huajuan.commands.unlike_image import unlike_image
from huajuan.domain.refusals import AlreadyLiked, ImageNotFound, NotLiked
from huajuan.event_store.after_commit import after_commit
from huajuan.event_store.errors import LogUnavailable
from huajuan.http import messages
from huajuan.http.errors import Answers, Refusal, answering
from huajuan.http.openapi.operations import BUSY, NO_TOKEN, TOO_LARGE, Said, asks, document, replies, takes
from huajuan.http.query_params import query_of
from huajuan.http.request_body import Unreadable, read_form
from huajuan.http.serializers import EXAMPLE_PICTURE, image_id_of
from huajuan.http.services import AtDesk, Desk
from huajuan.projections.history import HISTORY, likes_of
from huajuan.projections.likes import LIKES


class PictureForm(msgspec.Struct):
    """The picture meant, by its address."""

    url: Annotated[str, document(minLength=1)] = ""


class LikedReply(Said, kw_only=True):
    """The picture's likes, this one counted."""

    current_likes: int


class Faulty(msgspec.Struct, kw_only=True):
    """A refusal whose text stands under `error`."""

    code: int
    error: str


LIKE_ANSWERS: Answers = {
    Unreadable: Refusal(400, error=messages.URL_MISSING),
    ImageNotFound: Refusal(404, error=messages.IMAGE_NOT_FOUND),
    AlreadyLiked: Refusal(409, error=messages.ALREADY_LIKED),
    NotLiked: Refusal(409, error=messages.NOT_LIKED),
    LogUnavailable: Refusal(500, error=messages.LIKE_FAILED),
}


def _replies(message: str, conflict: str) -> Any:
    return replies(
        {
            200: (LikedReply, [{"message": message, "current_likes": 3}]),
            400: (Faulty, [{"error": messages.URL_MISSING}]),
            401: (Said, NO_TOKEN),
            404: (Faulty, [{"error": messages.IMAGE_NOT_FOUND}]),
            409: (Faulty, [{"error": conflict}]),
            413: (Said, TOO_LARGE),
            500: (Faulty, [{"error": messages.LIKE_FAILED}]),
            503: (Said, BUSY),
        }
    )


@post(
    "/auth/like",
    tags=["Likes"],
    status_code=200,
    operation_id="Like",
    operation_class=takes(PictureForm, {"url": EXAMPLE_PICTURE}, "url"),
    responses=_replies(messages.LIKED, messages.ALREADY_LIKED),
)
async def like(request: Request[Any, Any, Any], me: Me, desk: AtDesk) -> LikedReply:
    """Like a picture, once."""
    with answering(LIKE_ANSWERS):
        image_id = _image_id((await read_form(request, PictureForm)).url, desk)
        decided = await like_image(desk.store, me.account_id, image_id)
        return await _counted(image_id, decided.position, messages.LIKED, desk, at_least=1)


@delete(
    "/auth/like",
    tags=["Likes"],
    status_code=200,
    operation_id="Unlike",
    operation_class=asks("url", url="the picture's address"),
    responses=_replies(messages.UNLIKED, messages.NOT_LIKED),
)
async def unlike(request: Request[Any, Any, Any], me: Me, desk: AtDesk) -> LikedReply:
    """Take one's like back."""
    with answering(LIKE_ANSWERS):
        image_id = _image_id(query_of(request, Unreadable).get("url", ""), desk)
        decided = await unlike_image(desk.store, me.account_id, image_id)
        return await _counted(image_id, decided.position, messages.UNLIKED, desk, at_least=0)


def _image_id(url: str, desk: Desk) -> UUID:
    if not url:
        raise Refusal(400, error=messages.URL_MISSING)
    image_id = image_id_of(url, desk.settings.public_addresses)
    if image_id is None:
        raise ImageNotFound
    return image_id


async def _counted(image_id: UUID, position: int, message: str, desk: Desk, at_least: int) -> LikedReply:
    """`at_least` so many likes there are, also if the table is behind or cannot be read just now."""
    await desk.show(position, HISTORY, LIKES)
    likes = at_least
    with after_commit("count of likes"):
        likes = max(at_least, await likes_of(desk.tables, image_id))
    return LikedReply(code=200, message=message, current_likes=likes)
