"""JSON forms of users, images and read tables: UTC times, absolute URLs, flat texts."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec.structs import asdict

from huajuan.domain.image import Image
from huajuan.http.urls import current_url, own_path
from huajuan.projections.engine.checkpoints import SkippedEvent
from huajuan.projections.engine.status import ProjectionStatus, RebuildStatus
from huajuan.projections.queries.accounts import OwnProfile, PublicProfile
from huajuan.projections.queries.images import DrawnImage, FavoriteImage

PICTURE_KEY = re.compile(r"[0-9a-f]{32}\.png")
EXAMPLE_PICTURE = "http://localhost:8080/images/5f0c6a1e9d6b4d0f8a3c2b1e7d9f4a60.png"
EXAMPLE_IMAGE = {
    "id": 9,
    "username": "czh0",
    "params": "Prompt: sun, Width: 400, Height: 400, Steps: 30, SamplingMethod: DDIM",
    "likecount": 0,
    "picture": EXAMPLE_PICTURE,
    "create_time": "2024-11-21T23:31:25.924231Z",
    "prompt": "sun",
    "width": 400,
    "height": 400,
    "steps": 30,
    "sampling_method": "DDIM",
    "seed": "7",
    "generation_id": 8,
}

Moment = Annotated[str, msgspec.Meta(extra_json_schema={"extra": {"format": "date-time"}})]
Address = Annotated[str, msgspec.Meta(extra_json_schema={"extra": {"format": "uri"}})]


class OwnUser(msgspec.Struct):
    """One's own account."""

    id: int
    email: str
    username: str
    avatar_url: str
    score: int
    create_time: Moment


class PublicUser(msgspec.Struct):
    """The public fields of an account."""

    id: int
    username: str
    avatar_url: str
    create_time: Moment


class ImageOnWire(msgspec.Struct):
    """An image: `params` is the flat text of the parts that stand beside it."""

    id: int
    username: str
    params: str
    likecount: int
    picture: Address
    create_time: Moment
    prompt: str
    width: int
    height: int
    steps: int
    sampling_method: str
    seed: str
    generation_id: int


class FavoriteOnWire(ImageOnWire):
    """An image among one's favorites: `id` is the favorite's own, `image_id` the image's."""

    image_id: int
    favorited_time: Moment


def own_user(user: OwnProfile, addresses: Sequence[str]) -> OwnUser:
    avatar_url = current_url(user.avatar_url, addresses)
    return OwnUser(user.id, user.email, user.username, avatar_url, user.score, wire_time(user.create_time))


def public_user(known: PublicProfile, addresses: Sequence[str]) -> PublicUser:
    avatar_url = current_url(known.avatar_url, addresses)
    return PublicUser(known.id, known.username, avatar_url, wire_time(known.create_time))


def image_on_wire(image: DrawnImage, public_address: str) -> ImageOnWire:
    return ImageOnWire(
        id=image.id,
        username=image.username,
        params=flat_parameters(image),
        likecount=image.likecount,
        picture=picture_address(public_address, image.picture),
        create_time=wire_time(image.create_time),
        prompt=image.prompt,
        width=image.width,
        height=image.height,
        steps=image.steps,
        sampling_method=image.sampling_method,
        seed=image.seed,
        generation_id=image.generation_id,
    )


def favorite_on_wire(favorite: FavoriteImage, public_address: str) -> FavoriteOnWire:
    image = asdict(image_on_wire(favorite, public_address))
    return FavoriteOnWire(
        **image | {"id": favorite.favorite_id},
        image_id=favorite.id,
        favorited_time=wire_time(favorite.favorited_time),
    )


def image_id_of(picture: str, addresses: Sequence[str]) -> UUID | None:
    """The id of the image with this URL or path; `addresses` are our public addresses."""
    path = own_path(picture, addresses) or ""
    key = path.removeprefix("/images/")
    return UUID(key[:32]) if PICTURE_KEY.fullmatch(key) else None


def picture_address(public_address: str, key: str) -> str:
    return f"{public_address}/images/{key}"


def wire_time(moment: datetime) -> str:
    """`2024-11-21T23:31:25.9242Z`: no trailing zeros in the fraction, no fraction when it is zero."""
    text = moment.astimezone(UTC).replace(tzinfo=None).isoformat()
    return (text.rstrip("0") if "." in text else text) + "Z"


def flat_parameters(image: DrawnImage | Image.Requested) -> str:
    """The parameters in one line, in the format of the contract."""
    return (
        f"Prompt: {image.prompt}, Width: {image.width}, Height: {image.height}, "
        f"Steps: {image.steps}, SamplingMethod: {image.sampling_method}"
    )


class SkipOnWire(msgspec.Struct):
    """An event that the table leaves out, by position and kind."""

    position: int
    event: str
    reason: str
    skipped_at: Moment


class RebuildOnWire(msgspec.Struct):
    """A rebuild: up to `position` of `head`; while it runs there is no `ended_at` and no `outcome`."""

    started_at: Moment
    moved_at: Moment | None
    ended_at: Moment | None
    position: int | None
    head: int | None
    events_per_second: float | None
    outcome: str | None
    differences: list[dict[str, Any]] | None


class ProjectionOnWire(msgspec.Struct):
    """`lag_seconds` is how long it has not moved while events waited; `events_per_second` is smoothed."""

    name: str
    version: int
    position: int
    lag_events: int
    lag_seconds: float
    events_per_second: float
    leader: str | None
    moved_at: Moment
    stopped_at: int | None
    stopped_by: str | None
    stopped_event: str | None
    skips: list[SkipOnWire]
    ignored_skips: list[int]
    rebuilding: bool
    last_rebuild: RebuildOnWire | None


def projection_on_wire(status: ProjectionStatus) -> ProjectionOnWire:
    plain = {
        **asdict(status),
        "lag_seconds": round(status.lag_seconds, 3),
        "events_per_second": round(status.events_per_second, 3),
        "moved_at": wire_time(status.moved_at),
        "skips": [_skip(skip) for skip in status.skips],
        "last_rebuild": status.last_rebuild and _rebuild(status.last_rebuild),
    }
    return ProjectionOnWire(**plain)


def _skip(skip: SkippedEvent) -> SkipOnWire:
    return SkipOnWire(skip.position, skip.event, skip.reason, wire_time(skip.skipped_at))


def _rebuild(rebuild: RebuildStatus) -> RebuildOnWire:
    times = {name: getattr(rebuild, name) for name in ("started_at", "moved_at", "ended_at")}
    return RebuildOnWire(**asdict(rebuild) | {name: at and wire_time(at) for name, at in times.items()})


EXAMPLE_PROJECTION: dict[str, Any] = {
    "name": "history",
    "version": 1,
    "position": 4710,
    "lag_events": 3,
    "lag_seconds": 41.5,
    "events_per_second": 0.0,
    "leader": "gpu-1:20817",
    "moved_at": "2026-11-24T08:00:00.5Z",
    "stopped_at": 4711,
    "stopped_by": "KeyError",
    "stopped_event": "image.drawn",
    "skips": [
        {
            "position": 9,
            "event": "image.drawn",
            "reason": "its file is lost",
            "skipped_at": "2026-11-23T08:00:00Z",
        }
    ],
    "ignored_skips": [],
    "rebuilding": False,
    "last_rebuild": {
        "started_at": "2026-11-23T09:00:00Z",
        "moved_at": "2026-11-23T09:00:12.25Z",
        "ended_at": "2026-11-23T09:00:12.5Z",
        "position": 4600,
        "head": 4600,
        "events_per_second": 368.5,
        "outcome": "done",
        "differences": [],
    },
}
