"""Lists of images, and one image."""

from typing import Any

import msgspec
from litestar import Request, Response, get

from huajuan.auth.tokens import Me
from huajuan.domain.credentials import spell_name
from huajuan.event_store.errors import LogUnavailable
from huajuan.http import messages
from huajuan.http.errors import Answers, Refusal, answering
from huajuan.http.links import next_page
from huajuan.http.openapi.operations import BUSY, NO_TOKEN, Explained, Said, asks, replies
from huajuan.http.query_params import LIST_PARAMETERS, limit_of, query_of, unfit, wanted_of, whole_number
from huajuan.http.request_body import Unreadable
from huajuan.http.serializers import EXAMPLE_IMAGE, ImageOnWire, image_id_of, image_on_wire
from huajuan.http.services import AtDesk, Desk
from huajuan.http.times import BadTime, end_of, start_of
from huajuan.projections.history import DrawnImage, first_image_of, image_by_id, image_by_picture
from huajuan.projections.queries.cursors import BadCursor
from huajuan.projections.queries.image_list import Wanted, cursor_behind, list_images


class ImagesReply(Said, kw_only=True):
    """Images; a `Link` header leads to more."""

    images: list[ImageOnWire]


class ImageReply(Said, kw_only=True):
    """One image."""

    image: ImageOnWire


ALL_ANSWERS: Answers = {
    BadCursor: unfit("after"),
    LogUnavailable: Refusal(500, message=messages.ALL_IMAGES_FAILED),
}
OWN_ANSWERS: Answers = {
    BadCursor: unfit("after"),
    LogUnavailable: Refusal(500, message=messages.IMAGES_OF_USER_FAILED, error=messages.DATABASE_AWAY),
}
RANGE_ANSWERS: Answers = {
    BadCursor: unfit("after"),
    LogUnavailable: Refusal(500, message=messages.IMAGES_OF_RANGE_FAILED),
}
ONE_ANSWERS: Answers = {
    Unreadable: Refusal(400, message=messages.IMAGE_QUERY_UNFIT, error=messages.IMAGE_QUERY_EXPECTED),
    LogUnavailable: Refusal(500, message=messages.IMAGE_QUERY_FAILED),
}
BOUNDS = {"start_time": messages.START_TIME_UNFIT, "end_time": messages.END_TIME_UNFIT}
UNFIT = [{"message": messages.QUERY_UNFIT, "error": "width"}]


@get(
    "/image/all",
    tags=["Images"],
    operation_id="ListImages",
    operation_class=asks(**LIST_PARAMETERS),
    responses=replies(
        {
            200: (ImagesReply, [{"message": messages.ALL_IMAGES, "images": [EXAMPLE_IMAGE]}]),
            400: (Explained, UNFIT),
            500: (Said, [{"message": messages.ALL_IMAGES_FAILED}]),
            503: (Said, BUSY),
        }
    ),
)
async def all_images(request: Request[Any, Any, Any], desk: AtDesk) -> Response[ImagesReply]:
    """Everybody's images, oldest first unless asked otherwise."""
    given = query_of(request)
    with answering(ALL_ANSWERS):
        return await _listed(request, given, wanted_of(given, desk.settings.zone), messages.ALL_IMAGES, desk)


@get(
    "/auth/user/images",
    tags=["Images"],
    operation_id="ListOwnImages",
    operation_class=asks(**LIST_PARAMETERS),
    responses=replies(
        {
            200: (ImagesReply, [{"message": messages.IMAGES_OF_USER, "images": [EXAMPLE_IMAGE]}]),
            400: (Explained, UNFIT),
            401: (Said, NO_TOKEN),
            500: (Explained, [{"message": messages.IMAGES_OF_USER_FAILED, "error": messages.DATABASE_AWAY}]),
            503: (Said, BUSY),
        }
    ),
)
async def own_images(request: Request[Any, Any, Any], me: Me, desk: AtDesk) -> Response[ImagesReply]:
    """One's own images, oldest first unless asked otherwise."""
    given = query_of(request)
    with answering(OWN_ANSWERS):
        wanted = msgspec.structs.replace(wanted_of(given, desk.settings.zone), account_id=me.account_id)
        return await _listed(request, given, wanted, messages.IMAGES_OF_USER, desk)


@get(
    "/auth/user/images/timeRange",
    tags=["Images"],
    operation_id="ListOwnImagesOfTime",
    operation_class=asks(
        *("start_time", "end_time"),
        **{name: LIST_PARAMETERS[name] for name in ("start_time", "end_time", "limit", "after")},
    ),
    responses=replies(
        {
            200: (ImagesReply, [{"message": messages.IMAGES_OF_RANGE, "images": [EXAMPLE_IMAGE]}]),
            400: (
                Explained,
                [
                    {"message": messages.START_TIME_UNFIT, "error": messages.TIME_EXPECTED},
                    {"message": messages.END_TIME_UNFIT, "error": messages.TIME_MISSING},
                    {"message": messages.QUERY_UNFIT, "error": "limit"},
                ],
            ),
            401: (Said, NO_TOKEN),
            500: (Said, [{"message": messages.IMAGES_OF_RANGE_FAILED}]),
            503: (Said, BUSY),
        }
    ),
)
async def own_images_of_time(request: Request[Any, Any, Any], me: Me, desk: AtDesk) -> Response[ImagesReply]:
    """One's own images between two moments, both included."""
    given = query_of(request, _unfit_in_range)
    zone = desk.settings.zone
    wanted = Wanted(
        account_id=me.account_id,
        start_time=_bound(given, "start_time", lambda text: start_of(text, zone), messages.START_TIME_UNFIT),
        end_time=_bound(given, "end_time", lambda text: end_of(text, zone), messages.END_TIME_UNFIT),
        after=given.get("after"),
    )
    with answering(RANGE_ANSWERS):
        return await _listed(request, given, wanted, messages.IMAGES_OF_RANGE, desk)


@get(
    "/auth/image",
    tags=["Images"],
    operation_id="GetImage",
    operation_class=asks(
        url="its address",
        username="that user's first image",
        id="its id; the first of the three that is given counts",
    ),
    responses=replies(
        {
            200: (ImageReply, [{"message": messages.IMAGE_FOUND, "image": EXAMPLE_IMAGE}]),
            400: (
                Explained,
                [{"message": messages.IMAGE_QUERY_UNFIT, "error": messages.IMAGE_QUERY_EXPECTED}],
            ),
            401: (Said, NO_TOKEN),
            404: (Said, [{"message": messages.IMAGE_NOT_FOUND}]),
            500: (Said, [{"message": messages.IMAGE_QUERY_FAILED}]),
            503: (Said, BUSY),
        }
    ),
)
async def one_image(request: Request[Any, Any, Any], desk: AtDesk) -> ImageReply:
    """One image, by its address, its maker or its id."""
    with answering(ONE_ANSWERS):
        found = await _find(query_of(request, Unreadable), desk)
    if found is None:
        raise Refusal(404, message=messages.IMAGE_NOT_FOUND)
    image = image_on_wire(found, desk.settings.public_address)
    return ImageReply(code=200, message=messages.IMAGE_FOUND, image=image)


async def _listed(
    request: Request[Any, Any, Any], given: dict[str, str], wanted: Wanted, message: str, desk: Desk
) -> Response[ImagesReply]:
    """One page; one row more than it holds is asked for, to know whether there is another."""
    limit, address = limit_of(given, desk.settings.list_rows_max), desk.settings.public_address
    found = await list_images(desk.tables, wanted, limit + 1)
    page, headers = found[:limit], {}
    if len(found) > limit:
        headers = next_page(request, address, given, cursor_behind(page[-1], wanted))
    images = [image_on_wire(image, address) for image in page]
    return Response(ImagesReply(code=200, message=message, images=images), headers=headers)


async def _find(given: dict[str, str], desk: Desk) -> DrawnImage | None:
    if "url" in given:
        image_id = image_id_of(given["url"], desk.settings.public_addresses)
        return await image_by_picture(desk.tables, f"{image_id.hex}.png") if image_id else None
    if "username" in given:
        return await first_image_of(desk.tables, spell_name(given["username"]))
    return await image_by_id(desk.tables, _image_id(given.get("id", "")))


def _image_id(text: str) -> int:
    try:
        number = whole_number(text)
    except ValueError:
        raise Unreadable from None
    if number < 1:
        raise Unreadable
    return number


def _unfit_in_range(name: str) -> Refusal:
    text = BOUNDS.get(name)
    return Refusal(400, message=text, error=messages.TIME_EXPECTED) if text else unfit(name)


def _bound(given: dict[str, str], name: str, read: Any, text: str) -> Any:
    if name not in given:
        raise Refusal(400, message=text, error=messages.TIME_MISSING)
    try:
        return read(given[name])
    except BadTime:
        raise Refusal(400, message=text, error=messages.TIME_EXPECTED) from None
