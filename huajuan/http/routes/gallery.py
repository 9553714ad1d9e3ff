"""The square, the search by words, and deleting and restoring one's own images."""

import re
from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID, uuid4

import msgspec
from litestar import Request, get, post
from msgspec.structs import asdict

from huajuan.auth.tokens import Me
from huajuan.commands.delete_images import delete_images
from huajuan.commands.restore_images import restore_images
from huajuan.domain.refusals import ImageNotFound
from huajuan.event_store.errors import LogUnavailable
from huajuan.http import messages
from huajuan.http.errors import Answers, Refusal, answering
from huajuan.http.openapi.operations import (
    BUSY,
    NO_TOKEN,
    TOO_LARGE,
    Explained,
    Said,
    asks,
    document,
    replies,
    takes,
)
from huajuan.http.query_params import unfit
from huajuan.http.request_body import Unreadable, read_form
from huajuan.http.routes.images import ImagesReply
from huajuan.http.serializers import EXAMPLE_IMAGE, EXAMPLE_PICTURE, ImageOnWire, image_id_of, image_on_wire
from huajuan.http.services import AtDesk, Desk
from huajuan.projections.history import HISTORY, identities
from huajuan.projections.queries.image_list import Wanted, list_images
from huajuan.projections.queries.random_images import SquareImage, square

_BETWEEN_WORDS = re.compile(r"[\s,，、]+")


class SquareOnWire(ImageOnWire):
    """An image, and whether one likes it."""

    isliked: bool


class SquareReply(Said, kw_only=True):
    """Images by chance."""

    images: list[SquareOnWire]


class ImagesForm(msgspec.Struct):
    """The images meant, by their ids or by their addresses."""

    ids: Annotated[list[int], document(minItems=1)] | None = None
    urls: Annotated[list[str], document(minItems=1)] | None = None


UNNAMED = Refusal(400, message=messages.IMAGES_UNNAMED)
SQUARE_ANSWERS: Answers = {LogUnavailable: Refusal(500, message=messages.ALL_IMAGES_FAILED)}
FEATURE_ANSWERS: Answers = {LogUnavailable: Refusal(500, message=messages.IMAGE_QUERY_FAILED)}
CHANGE_ANSWERS: Answers = {
    Unreadable: UNNAMED,
    ImageNotFound: Refusal(404, message=messages.IMAGES_NOT_FOUND),
}


@get(
    "/auth/imageSquare",
    tags=["Images"],
    operation_id="Square",
    responses=replies(
        {
            200: (
                SquareReply,
                [{"message": messages.ALL_IMAGES, "images": [{**EXAMPLE_IMAGE, "isliked": True}]}],
            ),
            401: (Said, NO_TOKEN),
            500: (Said, [{"message": messages.ALL_IMAGES_FAILED}]),
            503: (Said, BUSY),
        }
    ),
)
async def image_square(me: Me, desk: AtDesk) -> SquareReply:
    """Some images by chance, and whether one likes them."""
    with answering(SQUARE_ANSWERS):
        found = await square(desk.tables, me.account_id, uuid4(), desk.settings.square_images_max)
    images = [_on_square(image, desk) for image in found]
    return SquareReply(code=200, message=messages.ALL_IMAGES, images=images)


@get(
    "/auth/image/feature",
    tags=["Images"],
    operation_id="SearchImages",
    operation_class=asks(
        feature="words, separated by spaces or commas; a picture whose prompt holds any of them is found",
        isOwn="`true`: only one's own",
    ),
    responses=replies(
        {
            200: (ImagesReply, [{"message": messages.IMAGE_FOUND, "images": [EXAMPLE_IMAGE]}]),
            400: (Explained, [{"message": messages.QUERY_UNFIT, "error": "feature"}]),
            401: (Said, NO_TOKEN),
            500: (Said, [{"message": messages.IMAGE_QUERY_FAILED}]),
            503: (Said, BUSY),
        }
    ),
)
async def image_feature(request: Request[Any, Any, Any], me: Me, desk: AtDesk) -> ImagesReply:
    """Images whose prompt holds any of the words, oldest first."""
    words = _words(request, desk.settings.feature_words_max)
    own = request.query_params.get("isOwn", "").lower() == "true"
    wanted = Wanted(account_id=me.account_id if own else None, any_words=words)
    with answering(FEATURE_ANSWERS):
        found = await list_images(desk.tables, wanted, desk.settings.list_rows_max) if words else []
    address = desk.settings.public_address
    images = [image_on_wire(image, address) for image in found]
    return ImagesReply(code=200, message=messages.IMAGE_FOUND, images=images)


def _change_replies(message: str) -> Any:
    return replies(
        {
            200: (Said, [{"message": message}]),
            400: (Said, [{"message": messages.IMAGES_UNNAMED}]),
            401: (Said, NO_TOKEN),
            404: (Said, [{"message": messages.IMAGES_NOT_FOUND}]),
            413: (Said, TOO_LARGE),
            503: (Said, BUSY),
        }
    )


@post(
    "/auth/user/deleteImages",
    tags=["Images"],
    status_code=200,
    operation_id="DeleteImages",
    operation_class=takes(ImagesForm, {"urls": [EXAMPLE_PICTURE]}, one_of=("ids", "urls")),
    responses=_change_replies(messages.IMAGES_DELETED),
)
async def remove_images(request: Request[Any, Any, Any], me: Me, desk: AtDesk) -> Said:
    """Delete one's own images: all of them or none. For a while they can be restored."""
    window = timedelta(hours=desk.settings.restore_hours)
    with answering(CHANGE_ANSWERS):
        image_ids = await _meant(await read_form(request, ImagesForm), desk)
        decided = await delete_images(desk.store, desk.trash, me.account_id, image_ids, window)
    await desk.show(decided.position, HISTORY)
    return Said(code=200, message=messages.IMAGES_DELETED)


@post(
    "/auth/user/restoreImages",
    tags=["Images"],
    status_code=200,
    operation_id="RestoreImages",
    operation_class=takes(ImagesForm, {"urls": [EXAMPLE_PICTURE]}, one_of=("ids", "urls")),
    responses=_change_replies(messages.IMAGES_RESTORED),
)
async def bring_images_back(request: Request[Any, Any, Any], me: Me, desk: AtDesk) -> Said:
    """Restore images that one deleted: all of them or none."""
    with answering(CHANGE_ANSWERS):
        image_ids = await _meant(await read_form(request, ImagesForm), desk)
        decided = await restore_images(desk.store, me.account_id, image_ids)
    await desk.show(decided.position, HISTORY)
    return Said(code=200, message=messages.IMAGES_RESTORED)


async def _meant(form: ImagesForm, desk: Desk) -> list[UUID]:
    """Either list, not both, not empty, and not longer than the bound."""
    given: list[Any] = (form.ids or []) + (form.urls or [])
    if (
        not given
        or (form.ids and form.urls)
        or not all(map(_is_name, form.urls or []))
        or len(given) > desk.settings.images_at_once_max
    ):
        raise Unreadable
    if form.ids:
        return await _by_id(form.ids, desk)
    found = [image_id_of(url, desk.settings.public_addresses) for url in form.urls or []]
    return [_known(image_id) for image_id in found]


def _is_name(url: str) -> bool:
    return url != "" and "\0" not in url


async def _by_id(ids: list[int], desk: Desk) -> list[UUID]:
    if not all(1 <= number < 2**63 for number in ids):
        raise Unreadable
    known = await identities(desk.tables, ids)
    return [_known(known.get(number)) for number in ids]


def _known(image_id: UUID | None) -> UUID:
    if image_id is None:
        raise ImageNotFound
    return image_id


def _words(request: Request[Any, Any, Any], most: int) -> tuple[str, ...]:
    given = request.query_params.getall("feature", [])
    words = tuple(dict.fromkeys(w for text in given for w in _BETWEEN_WORDS.split(text) if w))
    if len(words) > most or any("\0" in word for word in words):
        raise unfit("feature")
    return words


def _on_square(image: SquareImage, desk: Desk) -> SquareOnWire:
    shown = image_on_wire(image, desk.settings.public_address)
    return SquareOnWire(**asdict(shown), isliked=image.isliked)
