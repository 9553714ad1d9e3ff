"""One's favorite images."""

from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, Response, delete, get, post

from huajuan.auth.tokens import Me
from huajuan.commands.favorite_image import favorite_image
from huajuan.commands.unfavorite_image import unfavorite_image
from huajuan.domain.favorite import Favorite
from huajuan.domain.image import Image, shown
from huajuan.domain.refusals import AlreadyFavorite, ImageNotFound, NotFavorite
from huajuan.event_store.errors import LogUnavailable
from huajuan.event_store.loader import Stream
from huajuan.event_store.store import Decided
from huajuan.http import messages
from huajuan.http.errors import Answers, Refusal, answering
from huajuan.http.links import next_page
from huajuan.http.middleware.guards import INSTEAD_OF_TOKEN_REFUSAL
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
from huajuan.http.query_params import limit_of, query_of, unfit, whole_number
from huajuan.http.request_body import Unreadable, read_form
from huajuan.http.serializers import (
    EXAMPLE_IMAGE,
    EXAMPLE_PICTURE,
    FavoriteOnWire,
    favorite_on_wire,
    image_id_of,
)
from huajuan.http.services import AtDesk, Desk
from huajuan.projections.favorites import FAVORITES, FavoriteImage, favorite, favorites_of
from huajuan.projections.history import identities
from huajuan.projections.queries.cursors import BadCursor, cursor_at, place_of

EVER = (datetime(1970, 1, 1, tzinfo=UTC), 0)


class FavoriteForm(msgspec.Struct):
    """The image meant, by its address or its id; a non-empty `url` counts first."""

    url: Annotated[str, document(minLength=1)] = ""
    id: Annotated[int, document(minimum=1)] = 0


class FavoritesReply(Said, kw_only=True):
    """Favorites, oldest first; a `Link` header leads to more."""

    images: list[FavoriteOnWire]


class Unknown(Said, kw_only=True):
    """Nobody one knows; `error` tells that there was no token."""

    error: str | msgspec.UnsetType = msgspec.UNSET


NO_IMAGE_NAMED = Refusal(400, message=messages.NO_IMAGE_NAMED, error=messages.NO_IMAGE_NAMED_BECAUSE)
LIST_ANSWERS: Answers = {LogUnavailable: Refusal(500, message=messages.FAVORITES_FAILED)}
ADD_ANSWERS: Answers = {
    Unreadable: NO_IMAGE_NAMED,
    ImageNotFound: Refusal(404, message=messages.NO_SUCH_IMAGE, error=messages.NO_SUCH_IMAGE),
    AlreadyFavorite: Refusal(409, message=messages.ALREADY_FAVORITE),
    LogUnavailable: Refusal(500, message=messages.FAVORITE_FAILED),
}
REMOVE_ANSWERS: Answers = {
    Unreadable: NO_IMAGE_NAMED,
    ImageNotFound: Refusal(404, message=messages.NO_SUCH_IMAGE),
    NotFavorite: Refusal(409, message=messages.NOT_FAVORITE),
    LogUnavailable: Refusal(500, message=messages.UNFAVORITE_FAILED),
}
UNNAMED = [{"message": messages.NO_IMAGE_NAMED, "error": messages.NO_IMAGE_NAMED_BECAUSE}]
TOKENLESS = {INSTEAD_OF_TOKEN_REFUSAL: messages.USER_INFO_MISSING}
UNKNOWN_USER = [{"message": messages.USER_INFO_MISSING, "error": messages.TOKEN_MISSING}, *NO_TOKEN[1:]]
EXAMPLE = {**EXAMPLE_IMAGE, "id": 12, "image_id": 9, "favorited_time": "2024-11-22T01:02:03Z"}


@get(
    "/auth/user/favoritedimages",
    tags=["Favorites"],
    operation_id="ListFavorites",
    operation_class=asks(limit="how many at most", after="where the `Link` of the page before leads"),
    responses=replies(
        {
            200: (FavoritesReply, [{"message": messages.FAVORITES, "images": [EXAMPLE]}]),
            400: (Explained, [{"message": messages.QUERY_UNFIT, "error": "limit"}]),
            401: (Said, NO_TOKEN),
            500: (Said, [{"message": messages.FAVORITES_FAILED}]),
            503: (Said, BUSY),
        }
    ),
)
async def favorites(request: Request[Any, Any, Any], me: Me, desk: AtDesk) -> Response[FavoritesReply]:
    """One's favorites, in the order in which they were added."""
    given = query_of(request)
    limit, address = limit_of(given, desk.settings.list_rows_max), desk.settings.public_address
    with answering(LIST_ANSWERS):
        found = await favorites_of(desk.tables, me.account_id, limit + 1, _place(given.get("after")))
    page, headers = found[:limit], {}
    if len(found) > limit:
        headers = next_page(request, address, given, _cursor(page[-1]))
    images = [favorite_on_wire(image, address) for image in page]
    return Response(FavoritesReply(code=200, message=messages.FAVORITES, images=images), headers=headers)


@post(
    "/auth/addFavoritedImage",
    tags=["Favorites"],
    status_code=200,
    operation_id="AddFavorite",
    opt=TOKENLESS,
    operation_class=takes(FavoriteForm, {"url": EXAMPLE_PICTURE}, any_of=("url", "id")),
    responses=replies(
        {
            200: (Said, [{"message": messages.FAVORITE_ADDED}]),
            400: (Explained, UNNAMED),
            401: (Unknown, UNKNOWN_USER),
            404: (Explained, [{"message": messages.NO_SUCH_IMAGE, "error": messages.NO_SUCH_IMAGE}]),
            409: (Said, [{"message": messages.ALREADY_FAVORITE}]),
            413: (Said, TOO_LARGE),
            500: (Said, [{"message": messages.FAVORITE_FAILED}]),
            503: (Said, BUSY),
        }
    ),
)
async def add_favorite(request: Request[Any, Any, Any], me: Me, desk: AtDesk) -> Said:
    """Put an image among one's favorites, once."""
    with answering(ADD_ANSWERS):
        image_id = await _image_meant(await read_form(request, FavoriteForm), desk)
        decided = await favorite_image(desk.store, me.account_id, image_id)
    await desk.show(decided.position, FAVORITES)
    return Said(code=200, message=messages.FAVORITE_ADDED)


@delete(
    "/auth/deleteFavoritedImage",
    tags=["Favorites"],
    status_code=200,
    operation_id="RemoveFavorite",
    opt=TOKENLESS,
    operation_class=asks(url="the picture's address; counts first", id="the favorite's own id"),
    responses=replies(
        {
            200: (Said, [{"message": messages.FAVORITE_REMOVED}]),
            400: (Explained, UNNAMED),
            401: (Unknown, UNKNOWN_USER),
            404: (Said, [{"message": messages.NO_SUCH_IMAGE}]),
            409: (Said, [{"message": messages.NOT_FAVORITE}]),
            500: (Said, [{"message": messages.UNFAVORITE_FAILED}]),
            503: (Said, BUSY),
        }
    ),
)
async def remove_favorite(request: Request[Any, Any, Any], me: Me, desk: AtDesk) -> Said:
    """Take an image out of one's favorites."""
    with answering(REMOVE_ANSWERS):
        decided = await _removed(query_of(request, Unreadable), me.account_id, desk)
    await desk.show(decided.position, FAVORITES)
    return Said(code=200, message=messages.FAVORITE_REMOVED)


async def _image_meant(form: FavoriteForm, desk: Desk) -> UUID:
    if form.url:
        return _known(image_id_of(form.url, desk.settings.public_addresses))
    if not 1 <= form.id < 2**63:
        raise Unreadable
    shown_now = (await identities(desk.tables, [form.id])).get(form.id)
    # One that is gone may have been there for an earlier run of the same request.
    return _known(shown_now or await desk.store.earlier.stream_at(form.id, Image.Drawn.TOPIC))


async def _removed(given: dict[str, str], account_id: UUID, desk: Desk) -> Decided:
    try:
        image_id = await _image_of_favorite(given, account_id, desk)
        return await unfavorite_image(desk.store, account_id, image_id)
    except (ImageNotFound, NotFavorite):
        if earlier := await _removed_earlier(given, account_id, desk):
            return earlier
        raise


async def _removed_earlier(given: dict[str, str], account_id: UUID, desk: Desk) -> Decided | None:
    """By an earlier run of the same request. The tables do not know the favorite any more, the log does."""
    store, favorite_id = desk.store, None
    if "url" not in given:
        topics = Favorite.Added.TOPIC, Favorite.AddedAgain.TOPIC
        favorite_id = await store.earlier.stream_at(_favorite_id(given.get("id", "")), *topics)
    elif image_id := image_id_of(given["url"], desk.settings.public_addresses):
        favorite_id = store.stream_ids.favorite(account_id, image_id)
    return await store.made_before(Stream(Favorite, favorite_id)) if favorite_id else None


async def _image_of_favorite(given: dict[str, str], account_id: UUID, desk: Desk) -> UUID:
    if "url" in given:
        addresses = desk.settings.public_addresses
        return _known(await _drawn(image_id_of(given["url"], addresses), desk))
    found = await favorite(desk.tables, account_id, _favorite_id(given.get("id", "")))
    if found is None:
        raise NotFavorite
    return found.image_id


async def _drawn(image_id: UUID | None, desk: Desk) -> UUID | None:
    image = await desk.store.find(Image, image_id) if image_id else None
    return shown(image).id


def _known(image_id: UUID | None) -> UUID:
    if image_id is None:
        raise ImageNotFound
    return image_id


def _favorite_id(text: str) -> int:
    try:
        number = whole_number(text)
    except ValueError:
        number = 0
    if number < 1:
        raise Refusal(400, **NO_IMAGE_NAMED.body)
    return number


def _cursor(last: FavoriteImage) -> str:
    return cursor_at((last.favorited_time.astimezone(UTC), last.favorite_id))


def _place(after: str | None) -> tuple[datetime, int]:
    if after is None:
        return EVER
    try:
        time, number = place_of(after, tuple[datetime, int])
    except BadCursor:
        raise unfit("after") from None
    if time.tzinfo is None or not 0 <= number < 2**63:
        raise unfit("after")
    return time, number
