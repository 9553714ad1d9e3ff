"""Lists of images, and one image."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec
from litestar import Request, Response

from huajuan.auth.sessions import Claims
from huajuan.domain.credentials import normalize_username
from huajuan.event_store.errors import DatabaseUnavailable
from huajuan.http import messages
from huajuan.http.errors import ApiError, ErrorTable, UnreadableBody, invalid_parameter
from huajuan.http.openapi.operations import LIST_PARAMETERS, invalid_parameters, operation, query_params
from huajuan.http.openapi.responses import MessageResponse
from huajuan.http.request import InvalidTime, end_of, image_query, limit_of, query_of, start_of, whole_number
from huajuan.http.serializers import EXAMPLE_IMAGE, ImageOnWire, image_id_of, image_on_wire
from huajuan.http.urls import next_page
from huajuan.projections.engine.table import ReadTables
from huajuan.projections.queries import InvalidCursor
from huajuan.projections.queries.images import (
    DrawnImage,
    ImageFilter,
    cursor_after,
    first_image_of,
    image_by_id,
    image_by_picture,
)
from huajuan.projections.queries.images import list_images as select_images
from huajuan.settings import Settings


class ImagesResponse(MessageResponse, kw_only=True):
    """Images; a `Link` header leads to more."""

    images: list[ImageOnWire]


class ImageResponse(MessageResponse, kw_only=True):
    """One image."""

    image: ImageOnWire


IMAGE_NOT_FOUND = ApiError(404, message=messages.IMAGE_NOT_FOUND)
BOUND_TEXTS = {"start_time": messages.START_TIME_INVALID, "end_time": messages.END_TIME_INVALID}
TIME_RANGE = ("start_time", "end_time")
_CHECKED = tuple(name for name in LIST_PARAMETERS if name not in ("username", "prompt", "after"))


def _list_errors(failed: ApiError) -> ErrorTable:
    return {InvalidCursor: invalid_parameter("after"), DatabaseUnavailable: failed}


def _bound_error(name: str, text: str) -> ApiError:
    return ApiError(400, message=BOUND_TEXTS[name], error=text)


@operation(
    "Images",
    examples=[{"message": messages.ALL_IMAGES, "images": [EXAMPLE_IMAGE]}],
    parameters=query_params(**LIST_PARAMETERS),
    errors=_list_errors(ApiError(500, message=messages.ALL_IMAGES_FAILED)),
    raises=invalid_parameters(*_CHECKED),
)
async def list_images(
    request: Request[Any, Any, Any], tables: ReadTables, settings: Settings
) -> Response[ImagesResponse]:
    """The images of all users, by default oldest first."""
    given = query_of(request)
    query = image_query(given, settings.zone)
    return await _page(request, given, query, messages.ALL_IMAGES, tables, settings)


@operation(
    "Images",
    examples=[{"message": messages.IMAGES_OF_USER, "images": [EXAMPLE_IMAGE]}],
    parameters=query_params(**LIST_PARAMETERS),
    errors=_list_errors(
        ApiError(500, message=messages.IMAGES_OF_USER_FAILED, error=messages.DATABASE_UNAVAILABLE)
    ),
    raises=invalid_parameters(*_CHECKED),
)
async def list_own_images(
    request: Request[Any, Any, Any], claims: Claims, tables: ReadTables, settings: Settings
) -> Response[ImagesResponse]:
    """One's own images, by default oldest first."""
    given = query_of(request)
    query = msgspec.structs.replace(image_query(given, settings.zone), account_id=claims.account_id)
    return await _page(request, given, query, messages.IMAGES_OF_USER, tables, settings)


@operation(
    "Images",
    examples=[{"message": messages.IMAGES_OF_RANGE, "images": [EXAMPLE_IMAGE]}],
    parameters=query_params(
        *TIME_RANGE, **{name: LIST_PARAMETERS[name] for name in (*TIME_RANGE, "limit", "after")}
    ),
    errors=_list_errors(ApiError(500, message=messages.IMAGES_OF_RANGE_FAILED)),
    raises=(
        *(
            _bound_error(n, text)
            for n in TIME_RANGE
            for text in (messages.TIME_EXPECTED, messages.TIME_MISSING)
        ),
        *invalid_parameters("limit"),
    ),
)
async def list_own_images_of_time(
    request: Request[Any, Any, Any], claims: Claims, tables: ReadTables, settings: Settings
) -> Response[ImagesResponse]:
    """One's own images between two times, both included."""
    given = query_of(request, _range_error)
    zone = settings.zone
    query = ImageFilter(
        account_id=claims.account_id,
        start_time=_bound(given, "start_time", lambda text: start_of(text, zone)),
        end_time=_bound(given, "end_time", lambda text: end_of(text, zone)),
        after=given.get("after"),
    )
    return await _page(request, given, query, messages.IMAGES_OF_RANGE, tables, settings)


@operation(
    "Images",
    examples=[{"message": messages.IMAGE_FOUND, "image": EXAMPLE_IMAGE}],
    parameters=query_params(
        url="its address",
        username="that user's first image",
        id="its id; the first of the three that is given counts",
    ),
    errors={
        UnreadableBody: ApiError(
            400, message=messages.IMAGE_QUERY_INVALID, error=messages.IMAGE_QUERY_EXPECTED
        ),
        DatabaseUnavailable: ApiError(500, message=messages.IMAGE_QUERY_FAILED),
    },
    raises=(IMAGE_NOT_FOUND,),
)
async def get_image(request: Request[Any, Any, Any], tables: ReadTables, settings: Settings) -> ImageResponse:
    """One image, by its address, its maker or its id."""
    found = await _find(query_of(request, UnreadableBody), tables, settings.public_addresses)
    if found is None:
        raise IMAGE_NOT_FOUND
    image = image_on_wire(found, settings.public_address)
    return ImageResponse(code=200, message=messages.IMAGE_FOUND, image=image)


async def _page(
    request: Request[Any, Any, Any],
    given: dict[str, str],
    query: ImageFilter,
    message: str,
    tables: ReadTables,
    settings: Settings,
) -> Response[ImagesResponse]:
    """One page. The query reads one row more, to know whether there is a next page."""
    limit, address = limit_of(given, settings.list_rows_max), settings.public_address
    found = await select_images(tables, query, limit + 1)
    page, headers = found[:limit], {}
    if len(found) > limit:
        headers = next_page(request, address, given, cursor_after(page[-1], query))
    images = [image_on_wire(image, address) for image in page]
    return Response(ImagesResponse(code=200, message=message, images=images), headers=headers)


async def _find(given: dict[str, str], tables: ReadTables, addresses: tuple[str, ...]) -> DrawnImage | None:
    if "url" in given:
        image_id = image_id_of(given["url"], addresses)
        return await image_by_picture(tables, f"{image_id.hex}.png") if image_id else None
    if "username" in given:
        return await first_image_of(tables, normalize_username(given["username"]))
    return await image_by_id(tables, _image_id(given.get("id", "")))


def _image_id(text: str) -> int:
    try:
        number = whole_number(text)
    except ValueError:
        raise UnreadableBody from None
    if number < 1:
        raise UnreadableBody
    return number


def _range_error(name: str) -> ApiError:
    """The error of a repeated parameter."""
    return _bound_error(name, messages.TIME_EXPECTED) if name in BOUND_TEXTS else invalid_parameter(name)


def _bound(given: dict[str, str], name: str, read: Callable[[str], datetime]) -> datetime:
    if name not in given:
        raise _bound_error(name, messages.TIME_MISSING)
    try:
        return read(given[name])
    except InvalidTime:
        raise _bound_error(name, messages.TIME_EXPECTED) from None
