"""How rows of the read tables look on the wire: true UTC times, whole addresses, flat texts."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec.structs import asdict

from huajuan.domain.image import Image
from huajuan.http.own_addresses import own_path, present
from huajuan.projections.favorites import FavoriteImage
from huajuan.projections.history import DrawnImage
from huajuan.projections.users import KnownUser, User

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
    """A user as they see themselves."""

    id: int
    email: str
    username: str
    avatar_url: str
    score: int
    create_time: Moment


class PublicUser(msgspec.Struct):
    """What anyone may know of a user."""

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


def own_user(user: User, addresses: Sequence[str]) -> OwnUser:
    avatar_url = present(user.avatar_url, addresses)
    return OwnUser(user.id, user.email, user.username, avatar_url, user.score, wire_time(user.create_time))


def public_user(known: KnownUser, addresses: Sequence[str]) -> PublicUser:
    avatar_url = present(known.avatar_url, addresses)
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
    """The identity of the image whose address, whole or the path alone, this is; the public ones are given."""
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
    """The parts in one line, as the API document has them."""
    return (
        f"Prompt: {image.prompt}, Width: {image.width}, Height: {image.height}, "
        f"Steps: {image.steps}, SamplingMethod: {image.sampling_method}"
    )
