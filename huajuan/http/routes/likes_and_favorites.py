"""Likes and favorites."""

from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, Response

from huajuan.auth.sessions import Claims
from huajuan.commands.likes_and_favorites import favorite_image, like_image, unfavorite_image, unlike_image
from huajuan.domain.image import Image, require_visible
from huajuan.domain.like_and_favorite import Favorite
from huajuan.domain.refusals import AlreadyFavorite, AlreadyLiked, ImageNotFound, NotFavorite, NotLiked
from huajuan.event_store.errors import DatabaseUnavailable
from huajuan.event_store.loader import Stream
from huajuan.event_store.store import ChangeResult, EventStore, after_commit
from huajuan.http import messages
from huajuan.http.errors import ApiError, ErrorTable, UnreadableBody, invalid_parameter, token_error
from huajuan.http.openapi.operations import (
    PAGE_PARAMETERS,
    invalid_parameters,
    json_body,
    operation,
    query_params,
)
from huajuan.http.openapi.responses import MessageResponse
from huajuan.http.request import cursor_in, limit_of, query_of, read_form, schema_keys, whole_number
from huajuan.http.routes.gallery import require_image
from huajuan.http.serializers import (
    EXAMPLE_IMAGE,
    EXAMPLE_PICTURE,
    FavoriteOnWire,
    favorite_on_wire,
    image_id_of,
)
from huajuan.http.services import ReadYourWrites
from huajuan.http.urls import next_page
from huajuan.projections.engine.table import ReadTables
from huajuan.projections.favorites import FAVORITES, favorite
from huajuan.projections.history import HISTORY, find_image_ids, like_count
from huajuan.projections.likes import LIKES
from huajuan.projections.queries import encode_cursor
from huajuan.projections.queries.images import FavoriteImage, favorites_of
from huajuan.settings import Settings


class PictureForm(msgspec.Struct):
    """A picture by its address."""

    url: Annotated[str, schema_keys(minLength=1)] = ""


class LikedResponse(MessageResponse, kw_only=True):
    """The likes of the picture, including this one."""

    current_likes: int


_LIKE_ERRORS: ErrorTable = {
    UnreadableBody: ApiError(400, error=messages.URL_MISSING),
    ImageNotFound: ApiError(404, error=messages.IMAGE_NOT_FOUND),
    DatabaseUnavailable: ApiError(500, error=messages.LIKE_FAILED),
}


@operation(
    "Likes",
    examples=[{"message": messages.LIKED, "current_likes": 3}],
    body=json_body(PictureForm, {"url": EXAMPLE_PICTURE}, "url"),
    errors={**_LIKE_ERRORS, AlreadyLiked: ApiError(409, error=messages.ALREADY_LIKED)},
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
    errors={**_LIKE_ERRORS, NotLiked: ApiError(409, error=messages.NOT_LIKED)},
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
    return require_image(image_id_of(url, settings.public_addresses))


async def _count_likes(image_id: UUID, tables: ReadTables, at_least: int) -> int:
    """`at_least` if the table is behind or cannot be read."""
    likes = 0
    with after_commit("count of likes"):
        likes = await like_count(tables, image_id)
    return max(at_least, likes)


FavoriteCursor = tuple[datetime, int]
_BEFORE_ALL = (datetime(1970, 1, 1, tzinfo=UTC), 0)


class FavoriteForm(msgspec.Struct):
    """An image by its address or its id; a non-empty `url` has precedence."""

    url: Annotated[str, schema_keys(minLength=1)] = ""
    id: Annotated[int, schema_keys(minimum=1)] = 0


class FavoritesResponse(MessageResponse, kw_only=True):
    """Favorites, oldest first; a `Link` header leads to more."""

    images: list[FavoriteOnWire]


_NO_IMAGE_NAMED = ApiError(400, message=messages.NO_IMAGE_NAMED, error=messages.NO_IMAGE_NAMED_BECAUSE)
_EXAMPLE_FAVORITE = {**EXAMPLE_IMAGE, "id": 12, "image_id": 9, "favorited_time": "2024-11-22T01:02:03Z"}


def _token_error(text: str) -> ApiError:
    """A missing token has another message here."""
    if text == messages.TOKEN_MISSING:
        return ApiError(401, message=messages.USER_INFO_MISSING, error=text)
    return token_error(text)


@operation(
    "Favorites",
    examples=[{"message": messages.FAVORITES, "images": [_EXAMPLE_FAVORITE]}],
    parameters=query_params(**PAGE_PARAMETERS),
    errors={DatabaseUnavailable: ApiError(500, message=messages.FAVORITES_FAILED)},
    raises=invalid_parameters("limit", "after"),
)
async def list_favorites(
    request: Request[Any, Any, Any], claims: Claims, tables: ReadTables, settings: Settings
) -> Response[FavoritesResponse]:
    """One's favorites, in the order in which they were added."""
    given = query_of(request)
    limit, address = limit_of(given, settings.list_rows_max), settings.public_address
    found = await favorites_of(tables, claims.account_id, limit + 1, _cursor_in(given))
    page, headers = found[:limit], {}
    if len(found) > limit:
        headers = next_page(request, address, given, _cursor_at(page[-1]))
    images = [favorite_on_wire(image, address) for image in page]
    return Response(FavoritesResponse(code=200, message=messages.FAVORITES, images=images), headers=headers)


@operation(
    "Favorites",
    examples=[{"message": messages.FAVORITE_ADDED}],
    body=json_body(FavoriteForm, {"url": EXAMPLE_PICTURE}, any_of=("url", "id")),
    errors={
        UnreadableBody: _NO_IMAGE_NAMED,
        ImageNotFound: ApiError(404, message=messages.NO_SUCH_IMAGE, error=messages.NO_SUCH_IMAGE),
        AlreadyFavorite: ApiError(409, message=messages.ALREADY_FAVORITE),
        DatabaseUnavailable: ApiError(500, message=messages.FAVORITE_FAILED),
    },
    token_error=_token_error,
)
async def add_favorite(
    request: Request[Any, Any, Any],
    claims: Claims,
    store: EventStore,
    tables: ReadTables,
    settings: Settings,
    read_your_writes: ReadYourWrites,
) -> MessageResponse:
    """Add an image to one's favorites."""
    image_id = await _image_to_add(await read_form(request, FavoriteForm), store, tables, settings)
    decided = await favorite_image(store, claims.account_id, image_id)
    await read_your_writes.wait_for(decided.position, FAVORITES)
    return MessageResponse(code=200, message=messages.FAVORITE_ADDED)


@operation(
    "Favorites",
    examples=[{"message": messages.FAVORITE_REMOVED}],
    parameters=query_params(url="the picture's address; counts first", id="the favorite's own id"),
    errors={
        UnreadableBody: _NO_IMAGE_NAMED,
        ImageNotFound: ApiError(404, message=messages.NO_SUCH_IMAGE),
        NotFavorite: ApiError(409, message=messages.NOT_FAVORITE),
        DatabaseUnavailable: ApiError(500, message=messages.UNFAVORITE_FAILED),
    },
    token_error=_token_error,
)
async def remove_favorite(
    request: Request[Any, Any, Any],
    claims: Claims,
    store: EventStore,
    tables: ReadTables,
    settings: Settings,
    read_your_writes: ReadYourWrites,
) -> MessageResponse:
    """Remove an image from one's favorites."""
    given, account_id = query_of(request, UnreadableBody), claims.account_id
    image_id = image_id_of(given["url"], settings.public_addresses) if "url" in given else None
    favorite_id = 0 if "url" in given else _favorite_id(given.get("id", ""))
    try:
        if favorite_id:
            image_id = await _image_of_favorite(favorite_id, account_id, tables)
        else:
            require_visible(await store.find(Image, image_id) if image_id else None)
        decided = await unfavorite_image(store, account_id, require_image(image_id))
    except (ImageNotFound, NotFavorite):
        earlier = await _removed_earlier(favorite_id, image_id, account_id, store)
        if earlier is None:
            raise
        decided = earlier
    await read_your_writes.wait_for(decided.position, FAVORITES)
    return MessageResponse(code=200, message=messages.FAVORITE_REMOVED)


async def _image_to_add(
    form: FavoriteForm, store: EventStore, tables: ReadTables, settings: Settings
) -> UUID:
    if form.url:
        return require_image(image_id_of(form.url, settings.public_addresses))
    if not 1 <= form.id < 2**63:
        raise UnreadableBody
    visible = (await find_image_ids(tables, [form.id])).get(form.id)
    # A deleted image may have been visible to an earlier run of the same request.
    return require_image(visible or await store.streams.stream_at(form.id, Image.Drawn.TOPIC))


async def _removed_earlier(
    number: int, image_id: UUID | None, account_id: UUID, store: EventStore
) -> ChangeResult | None:
    """The result of an earlier run, from the log, because the tables no longer have the favorite."""
    favorite_id = None
    if number:
        topics = Favorite.Added.TOPIC, Favorite.AddedAgain.TOPIC
        favorite_id = await store.streams.stream_at(number, *topics)
    elif image_id:
        favorite_id = store.stream_ids.favorite(account_id, image_id)
    return await store.previous_result(Stream(Favorite, favorite_id)) if favorite_id else None


async def _image_of_favorite(number: int, account_id: UUID, tables: ReadTables) -> UUID:
    found = await favorite(tables, account_id, number)
    if found is None:
        raise NotFavorite
    return found.image_id


def _favorite_id(text: str) -> int:
    try:
        number = whole_number(text)
    except ValueError:
        number = 0
    if number < 1:
        raise UnreadableBody
    return number


def _cursor_at(last: FavoriteImage) -> str:
    return encode_cursor((last.favorited_time.astimezone(UTC), last.favorite_id))


def _cursor_in(given: dict[str, str]) -> FavoriteCursor:
    time, number = cursor_in(given, FavoriteCursor, _BEFORE_ALL)
    if time.tzinfo is None or not 0 <= number < 2**63:
        raise invalid_parameter("after")
    return time, number
