"""An account as it was: its profile and its pictures as of any moment, from the log alone."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

import msgspec
import psycopg
from litestar import Request, Response, get
from litestar.params import FromPath

from huajuan.audit.as_of import Place, Profile, Shown, gallery_at, profile_at
from huajuan.http import messages
from huajuan.http.links import next_page
from huajuan.http.openapi.operations import Said, asks_of_path
from huajuan.http.own_addresses import present
from huajuan.http.query_params import limit_of, query_of
from huajuan.http.routes.admin.as_of import (
    AS_OF,
    UNKNOWN,
    AsOf,
    as_of_in,
    audit_replies,
    audited,
    place_in,
    position_of,
)
from huajuan.http.routes.check_in import NO_STORE
from huajuan.http.serializers import (
    EXAMPLE_IMAGE,
    Address,
    Moment,
    flat_parameters,
    picture_address,
    wire_time,
)
from huajuan.http.services import AtDesk
from huajuan.projections.queries.cursors import cursor_at

_BEGINNING: Place = (datetime.min.replace(tzinfo=UTC), 0)


class ProfileThen(msgspec.Struct):
    """`images` are those to be seen, `likes` and `favorites` those that the account gave."""

    id: int
    account_id: str
    username: str | None
    email: str | None
    avatar_url: str | None
    create_time: Moment
    score: int
    held: int
    images: int
    likes: int
    favorites: int
    banned: bool
    admin: bool
    erased: bool


class ProfileReply(Said, kw_only=True):
    """The account as of `position`.

    `username`, `email` and the address of an avatar are `null` for a person who is erased by now.
    """

    position: int
    profile: ProfileThen


class ImageThen(msgspec.Struct):
    """An image as lists had it, without the words of a person who is erased by now."""

    id: int
    username: str | None
    params: str | None
    likecount: int
    picture: Address
    create_time: Moment
    prompt: str | None
    width: int
    height: int
    steps: int
    sampling_method: str
    seed: str | None
    generation_id: int


class GalleryReply(Said, kw_only=True):
    """The images to be seen as of `position`, oldest first; a `Link` header leads to later ones."""

    position: int
    images: list[ImageThen]


_EXAMPLE_PROFILE = {
    "id": 3, "account_id": "0f8a3c2b-1e7d-5f4a-8a3c-2b1e7d9f4a60", "username": "czh0", "email": "3@qq.com",
    "avatar_url": "", "create_time": "2024-11-21T23:30:00Z", "score": 80, "held": 0, "images": 1, "likes": 0,
    "favorites": 0, "banned": False, "admin": False, "erased": False,
}  # fmt: skip


@get(
    "/admin/users/{username:str}/profile",
    tags=["Admin"],
    operation_id="GetProfileAsOf",
    operation_class=asks_of_path(as_of=AS_OF),
    responses=audit_replies(
        (ProfileReply, [{"message": messages.WELL, "position": 4711, "profile": _EXAMPLE_PROFILE}]), "as_of"
    ),
)
async def past_profile(
    request: Request[Any, Any, Any], username: FromPath[str], desk: AtDesk
) -> Response[ProfileReply]:
    """Somebody's profile as it was at any moment. 404 before the account was there."""
    as_of = as_of_in(query_of(request), desk.settings.zone)
    seconds_max = desk.settings.audit.replay_seconds_max
    position, found = await desk.auditors.ask(partial(_profile, username, as_of, seconds_max))
    profile = _profile_on_wire(found, desk.settings.public_addresses)
    reply = ProfileReply(code=200, message=messages.WELL, position=position, profile=profile)
    return Response(reply, headers=NO_STORE)


@get(
    "/admin/users/{username:str}/gallery",
    tags=["Admin"],
    operation_id="GetGalleryAsOf",
    operation_class=asks_of_path(
        as_of=AS_OF, limit="how many at most", after="where the `Link` of the page before leads"
    ),
    responses=audit_replies(
        (GalleryReply, [{"message": messages.WELL, "position": 4711, "images": [EXAMPLE_IMAGE]}]),
        "as_of",
        "limit",
        "after",
    ),
)
async def past_gallery(
    request: Request[Any, Any, Any], username: FromPath[str], desk: AtDesk
) -> Response[GalleryReply]:
    """Somebody's pictures as they were to be seen at any moment, with their likes."""
    given, settings = query_of(request), desk.settings
    limit, address = limit_of(given, settings.list_rows_max), settings.public_address
    after, as_of = place_in(given, Place, _BEGINNING), as_of_in(given, settings.zone)
    asked = partial(_gallery, username, as_of, after, limit + 1, settings.audit.replay_seconds_max)
    position, owner, found = await desk.auditors.ask(asked)
    headers = dict(NO_STORE)
    if len(found) > limit:
        last = found[limit - 1]
        later = cursor_at((last.time, last.id))
        # Later pages are of the same moment.
        headers |= next_page(request, address, given | {"as_of": str(position)}, later)
    images = [_image_on_wire(image, owner, address) for image in found[:limit]]
    reply = GalleryReply(code=200, message=messages.WELL, position=position, images=images)
    return Response(reply, headers=headers)


def _profile(
    name: str, as_of: AsOf, seconds_max: float, connection: psycopg.Connection
) -> tuple[int, Profile]:
    account, position = audited(connection, name), position_of(connection, as_of)
    found = profile_at(connection, account, position, seconds_max)
    if found is None:
        raise UNKNOWN
    return position, found


def _gallery(
    name: str, as_of: AsOf, after: Place, most: int, seconds_max: float, connection: psycopg.Connection
) -> tuple[int, str | None, list[Shown]]:
    account, position = audited(connection, name), position_of(connection, as_of)
    found = gallery_at(connection, account, position, after, most, seconds_max)
    if found is None:
        raise UNKNOWN
    return position, *found


def _profile_on_wire(found: Profile, addresses: Sequence[str]) -> ProfileThen:
    then = found.account
    return ProfileThen(
        id=found.id,
        account_id=str(then.id),
        username=then.username,
        email=then.email,
        avatar_url=then.avatar_url and present(then.avatar_url, addresses),
        create_time=wire_time(found.registered_at),
        score=then.balance,
        held=sum(then.held.values()),
        images=found.images,
        likes=found.likes,
        favorites=found.favorites,
        banned=then.is_banned,
        admin=found.is_admin,
        erased=then.is_erased,
    )


def _image_on_wire(image: Shown, username: str | None, address: str) -> ImageThen:
    asked = image.requested
    return ImageThen(
        id=image.id,
        username=username,
        params=None if asked.prompt is None else flat_parameters(asked),
        likecount=image.likecount,
        picture=picture_address(address, image.drawn.picture),
        create_time=wire_time(image.time),
        prompt=asked.prompt,
        width=asked.width,
        height=asked.height,
        steps=asked.steps,
        sampling_method=asked.sampling_method,
        seed=asked.seed,
        generation_id=image.generation_id,
    )
