"""Audits of the past over HTTP: an account as of any moment, its pictures then, and its timeline."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import psycopg
from litestar import Request, Response
from litestar.params import FromPath

from huajuan.audit.connection import AuditError, read_log_head
from huajuan.audit.past import (
    PictureCursor,
    Profile,
    ShownPicture,
    TimelineEvent,
    gallery_at,
    position_at,
    profile_at,
    read_timeline,
)
from huajuan.audit.replay import find_account
from huajuan.http import messages
from huajuan.http.audit_pool import AuditPool
from huajuan.http.errors import UNKNOWN_USER, invalid_parameter
from huajuan.http.event_messages import LineOnWire, line_of
from huajuan.http.openapi.operations import PAGE_PARAMETERS, invalid_parameters, operation, query_params
from huajuan.http.openapi.responses import MessageResponse
from huajuan.http.request import cursor_in, end_of, limit_of, query_of, read_parameter, whole_number
from huajuan.http.routes.points import NO_STORE, POSITION_MAX, PositionCursor
from huajuan.http.serializers import (
    EXAMPLE_IMAGE,
    Address,
    Moment,
    flat_parameters,
    picture_address,
    wire_time,
)
from huajuan.http.urls import current_url, next_page
from huajuan.projections.queries import encode_cursor
from huajuan.settings import Settings

AS_OF = (
    "only up to here: a position of the log, a date (the whole day), or a moment such as 2024-11-21T23:31:25Z"
)
AsOf = int | datetime | None


def as_of_in(given: dict[str, str], zone: ZoneInfo) -> AsOf:
    """Raises `ApiError` if it is neither a position nor a time."""

    def read(text: str) -> int | datetime:
        return whole_number(text) if text.isascii() and text.isdigit() else end_of(text, zone)

    return read_parameter(given, "as_of", read)


def position_of(connection: psycopg.Connection, as_of: AsOf) -> int:
    """The last position of the log by default. Raises `ApiError` for a position after that."""
    last = read_log_head(connection)[0]
    if as_of is None:
        return last
    if isinstance(as_of, datetime):
        return position_at(connection, as_of)
    if as_of > last:
        raise invalid_parameter("as_of")
    return as_of


def resolve_audited_account(connection: psycopg.Connection, name: str) -> UUID:
    """The account by username or by its id in the log. Raises `ApiError` if there is none."""
    try:
        return find_account(connection, name)
    except AuditError:
        raise UNKNOWN_USER from None


_BEGINNING: PictureCursor = (datetime.min.replace(tzinfo=UTC), 0)


class ProfileThen(msgspec.Struct):
    """`images` counts the visible images, `likes` and `favorites` those that the account gave."""

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


class ProfileResponse(MessageResponse, kw_only=True):
    """The account as of `position`.

    `username`, `email` and the address of an avatar are `null` if the account is erased by now.
    """

    position: int
    profile: ProfileThen


class ImageThen(msgspec.Struct):
    """An image as lists had it; texts are null if their author is erased by now."""

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


class GalleryResponse(MessageResponse, kw_only=True):
    """The visible images as of `position`, oldest first; a `Link` header leads to later ones."""

    position: int
    images: list[ImageThen]


_EXAMPLE_PROFILE = {
    "id": 3, "account_id": "0f8a3c2b-1e7d-5f4a-8a3c-2b1e7d9f4a60", "username": "czh0", "email": "3@qq.com",
    "avatar_url": "", "create_time": "2024-11-21T23:30:00Z", "score": 80, "held": 0, "images": 1, "likes": 0,
    "favorites": 0, "banned": False, "admin": False, "erased": False,
}  # fmt: skip


@operation(
    "Admin",
    examples=[{"message": messages.SUCCEEDED, "position": 4711, "profile": _EXAMPLE_PROFILE}],
    parameters=query_params(as_of=AS_OF),
    raises=(UNKNOWN_USER, *invalid_parameters("as_of")),
)
async def get_profile_as_of(
    request: Request[Any, Any, Any], username: FromPath[str], audit_pool: AuditPool, settings: Settings
) -> Response[ProfileResponse]:
    """The profile of an account as of any moment. 404 before the account existed."""
    as_of = as_of_in(query_of(request), settings.zone)
    seconds_max = audit_pool.limits.replay_seconds_max
    position, found = await audit_pool.run_in_snapshot(partial(_profile, username, as_of, seconds_max))
    profile = _profile_on_wire(found, settings.public_addresses)
    reply = ProfileResponse(code=200, message=messages.SUCCEEDED, position=position, profile=profile)
    return Response(reply, headers=NO_STORE)


@operation(
    "Admin",
    examples=[{"message": messages.SUCCEEDED, "position": 4711, "images": [EXAMPLE_IMAGE]}],
    parameters=query_params(as_of=AS_OF, **PAGE_PARAMETERS),
    raises=(UNKNOWN_USER, *invalid_parameters("as_of", "limit", "after")),
)
async def get_gallery_as_of(
    request: Request[Any, Any, Any], username: FromPath[str], audit_pool: AuditPool, settings: Settings
) -> Response[GalleryResponse]:
    """The pictures of an account that were visible at any moment, with their likes."""
    given = query_of(request)
    limit, address = limit_of(given, settings.list_rows_max), settings.public_address
    after, as_of = cursor_in(given, PictureCursor, _BEGINNING), as_of_in(given, settings.zone)
    query = partial(_gallery, username, as_of, after, limit + 1, audit_pool.limits.replay_seconds_max)
    position, owner, found = await audit_pool.run_in_snapshot(query)
    headers = dict(NO_STORE)
    if len(found) > limit:
        last = found[limit - 1]
        later = encode_cursor((last.time, last.id))
        # Later pages are as of the same position.
        headers |= next_page(request, address, given | {"as_of": str(position)}, later)
    images = [_image_on_wire(image, owner, address) for image in found[:limit]]
    reply = GalleryResponse(code=200, message=messages.SUCCEEDED, position=position, images=images)
    return Response(reply, headers=headers)


def _profile(
    name: str, as_of: AsOf, seconds_max: float, connection: psycopg.Connection
) -> tuple[int, Profile]:
    account, position = resolve_audited_account(connection, name), position_of(connection, as_of)
    found = profile_at(connection, account, position, seconds_max)
    if found is None:
        raise UNKNOWN_USER
    return position, found


def _gallery(
    name: str,
    as_of: AsOf,
    after: PictureCursor,
    most: int,
    seconds_max: float,
    connection: psycopg.Connection,
) -> tuple[int, str | None, list[ShownPicture]]:
    account, position = resolve_audited_account(connection, name), position_of(connection, as_of)
    found = gallery_at(connection, account, position, after, most, seconds_max)
    if found is None:
        raise UNKNOWN_USER
    return position, *found


def _profile_on_wire(found: Profile, addresses: Sequence[str]) -> ProfileThen:
    account = found.account
    return ProfileThen(
        id=found.id,
        account_id=str(account.id),
        username=account.username,
        email=account.email,
        avatar_url=account.avatar_url and current_url(account.avatar_url, addresses),
        create_time=wire_time(found.registered_at),
        score=account.balance,
        held=sum(account.held.values()),
        images=found.images,
        likes=found.likes,
        favorites=found.favorites,
        banned=account.is_banned,
        admin=found.is_admin,
        erased=account.is_erased,
    )


def _image_on_wire(image: ShownPicture, username: str | None, address: str) -> ImageThen:
    requested = image.requested
    return ImageThen(
        id=image.id,
        username=username,
        params=None if requested.prompt is None else flat_parameters(requested),
        likecount=image.likecount,
        picture=picture_address(address, image.drawn.picture),
        create_time=wire_time(image.time),
        prompt=requested.prompt,
        width=requested.width,
        height=requested.height,
        steps=requested.steps,
        sampling_method=requested.sampling_method,
        seed=requested.seed,
        generation_id=image.generation_id,
    )


class TimelineResponse(MessageResponse, kw_only=True):
    """Events, newest first; a `Link` header leads to older ones."""

    timeline: list[LineOnWire]


_EXAMPLE = {
    "message": messages.SUCCEEDED,
    "timeline": [
        {
            "position": 4713,
            "time": "2024-11-21T23:31:25.924231Z",
            "event": "image.drawn",
            "zh": messages.EXAMPLE_LINE,
            "en": "image #4713 was drawn",
            "actor": None,
            "image": "5f0c6a1e-9d6b-4d0f-8a3c-2b1e7d9f4a60",
            "image_id": 4713,
            "correlation_id": "8d1f",
            "generation_id": 4712,
        }
    ],
}


@operation(
    "Admin",
    examples=[_EXAMPLE],
    parameters=query_params(**PAGE_PARAMETERS),
    raises=(UNKNOWN_USER, *invalid_parameters("limit", "after")),
)
async def get_timeline(
    request: Request[Any, Any, Any], username: FromPath[str], audit_pool: AuditPool, settings: Settings
) -> Response[TimelineResponse]:
    """All events of an account, newest first. The personal data of an erased account is missing."""
    given = query_of(request)
    limit, before = limit_of(given, settings.list_rows_max), cursor_in(given, PositionCursor, POSITION_MAX)
    found = await audit_pool.run_in_snapshot(partial(_events, username, before, limit + 1))
    headers = dict(NO_STORE)
    if len(found) > limit:
        earlier = encode_cursor(found[limit - 1].position)
        headers |= next_page(request, settings.public_address, given, earlier)
    lines = [line_of(event, settings.public_addresses) for event in found[:limit]]
    return Response(TimelineResponse(code=200, message=messages.SUCCEEDED, timeline=lines), headers=headers)


def _events(name: str, before: int, most: int, connection: psycopg.Connection) -> list[TimelineEvent]:
    return read_timeline(connection, resolve_audited_account(connection, name), before, most)
