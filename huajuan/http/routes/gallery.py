"""Random images, the search by words, and deleting and restoring one's own images."""

import re
from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID, uuid4

import msgspec
from litestar import Request
from msgspec.structs import asdict

from huajuan.auth.sessions import Claims
from huajuan.commands.images import delete_images as delete
from huajuan.commands.images import restore_images as restore
from huajuan.domain.refusals import ImageNotFound
from huajuan.event_store.errors import DatabaseUnavailable
from huajuan.event_store.store import EventStore
from huajuan.http import messages
from huajuan.http.errors import ApiError, ErrorTable, UnreadableBody, invalid_parameter
from huajuan.http.openapi.operations import invalid_parameters, json_body, operation, query_params
from huajuan.http.openapi.responses import MessageResponse
from huajuan.http.request import read_form, schema_keys
from huajuan.http.routes.images import ImagesResponse
from huajuan.http.serializers import EXAMPLE_IMAGE, EXAMPLE_PICTURE, ImageOnWire, image_id_of, image_on_wire
from huajuan.http.services import ReadYourWrites
from huajuan.projections.engine.table import ReadTables
from huajuan.projections.history import HISTORY, find_image_ids
from huajuan.projections.queries.images import ImageFilter, list_images
from huajuan.projections.queries.images import random_images as random_images
from huajuan.settings import Settings
from huajuan.storage.deletions import DeletedPictures

SQUARE_IMAGES_MAX = 100
FEATURE_WORDS_MAX = 10
# The images that one request may delete or restore.
IMAGES_AT_ONCE_MAX = 100
_SEPARATORS = re.compile(r"[\s,，、]+")


class SquareOnWire(ImageOnWire):
    """An image, and whether one likes it."""

    isliked: bool


class SquareResponse(MessageResponse, kw_only=True):
    """Random images."""

    images: list[SquareOnWire]


class ImagesForm(msgspec.Struct):
    """Images by their ids or by their addresses."""

    ids: Annotated[list[int], schema_keys(minItems=1)] | None = None
    urls: Annotated[list[str], schema_keys(minItems=1)] | None = None


CHANGE_ERRORS: ErrorTable = {
    UnreadableBody: ApiError(400, message=messages.IMAGES_UNNAMED),
    ImageNotFound: ApiError(404, message=messages.IMAGES_NOT_FOUND),
}
IMAGES_BODY = json_body(ImagesForm, {"urls": [EXAMPLE_PICTURE]}, one_of=("ids", "urls"))


@operation(
    "Images",
    examples=[{"message": messages.ALL_IMAGES, "images": [{**EXAMPLE_IMAGE, "isliked": True}]}],
    errors={DatabaseUnavailable: ApiError(500, message=messages.ALL_IMAGES_FAILED)},
)
async def square(claims: Claims, tables: ReadTables, settings: Settings) -> SquareResponse:
    """Random images, and whether one likes them."""
    found = await random_images(tables, claims.account_id, uuid4(), SQUARE_IMAGES_MAX)
    shown = [(asdict(image_on_wire(image, settings.public_address)), image.isliked) for image in found]
    images = [SquareOnWire(**image, isliked=isliked) for image, isliked in shown]
    return SquareResponse(code=200, message=messages.ALL_IMAGES, images=images)


@operation(
    "Images",
    examples=[{"message": messages.IMAGE_FOUND, "images": [EXAMPLE_IMAGE]}],
    parameters=query_params(
        feature="words, separated by spaces or commas; a picture whose prompt holds any of them is found",
        isOwn="`true`: only one's own",
    ),
    errors={DatabaseUnavailable: ApiError(500, message=messages.IMAGE_QUERY_FAILED)},
    raises=invalid_parameters("feature"),
)
async def search_images(
    request: Request[Any, Any, Any], claims: Claims, tables: ReadTables, settings: Settings
) -> ImagesResponse:
    """Images whose prompt holds any of the words, oldest first."""
    words = _words(request, FEATURE_WORDS_MAX)
    is_own = request.query_params.get("isOwn", "").lower() == "true"
    query = ImageFilter(account_id=claims.account_id if is_own else None, any_words=words)
    found = await list_images(tables, query, settings.list_rows_max) if words else []
    images = [image_on_wire(image, settings.public_address) for image in found]
    return ImagesResponse(code=200, message=messages.IMAGE_FOUND, images=images)


@operation(
    "Images",
    examples=[{"message": messages.IMAGES_DELETED}],
    body=IMAGES_BODY,
    errors=CHANGE_ERRORS,
)
async def delete_images(
    request: Request[Any, Any, Any],
    claims: Claims,
    store: EventStore,
    tables: ReadTables,
    deleted_pictures: DeletedPictures,
    settings: Settings,
    read_your_writes: ReadYourWrites,
) -> MessageResponse:
    """Delete one's own images: all of them or none. They can be restored for some time."""
    window = timedelta(hours=settings.restore_hours)
    image_ids = await _image_ids(await read_form(request, ImagesForm), tables, settings)
    decided = await delete(store, deleted_pictures, claims.account_id, image_ids, window)
    await read_your_writes.wait_for(decided.position, HISTORY)
    return MessageResponse(code=200, message=messages.IMAGES_DELETED)


@operation(
    "Images",
    examples=[{"message": messages.IMAGES_RESTORED}],
    body=IMAGES_BODY,
    errors=CHANGE_ERRORS,
)
async def restore_images(
    request: Request[Any, Any, Any],
    claims: Claims,
    store: EventStore,
    tables: ReadTables,
    settings: Settings,
    read_your_writes: ReadYourWrites,
) -> MessageResponse:
    """Restore one's own deleted images: all of them or none."""
    image_ids = await _image_ids(await read_form(request, ImagesForm), tables, settings)
    decided = await restore(store, claims.account_id, image_ids)
    await read_your_writes.wait_for(decided.position, HISTORY)
    return MessageResponse(code=200, message=messages.IMAGES_RESTORED)


async def _image_ids(form: ImagesForm, tables: ReadTables, settings: Settings) -> list[UUID]:
    """The images of exactly one list, which is neither empty nor too long."""
    given: list[Any] = (form.ids or []) + (form.urls or [])
    if not given or (form.ids and form.urls) or len(given) > IMAGES_AT_ONCE_MAX:
        raise UnreadableBody
    if form.ids:
        return await _by_id(form.ids, tables)
    if not all(url and "\0" not in url for url in given):
        raise UnreadableBody
    return [require_image(image_id_of(url, settings.public_addresses)) for url in given]


async def _by_id(ids: list[int], tables: ReadTables) -> list[UUID]:
    if not all(1 <= number < 2**63 for number in ids):
        raise UnreadableBody
    found = await find_image_ids(tables, ids)
    return [require_image(found.get(number)) for number in ids]


def require_image(image_id: UUID | None) -> UUID:
    """Raises `ImageNotFound` for `None`."""
    if image_id is None:
        raise ImageNotFound
    return image_id


def _words(request: Request[Any, Any, Any], most: int) -> tuple[str, ...]:
    given = request.query_params.getall("feature", [])
    words = tuple(dict.fromkeys(w for text in given for w in _SEPARATORS.split(text) if w))
    if len(words) > most or any("\0" in word for word in words):
        raise invalid_parameter("feature")
    return words
