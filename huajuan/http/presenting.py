"""How rows of the read tables look on the wire: true UTC times, whole addresses, flat texts."""

from datetime import UTC, datetime

import msgspec

from huajuan.projections.history import DrawnImage
from huajuan.projections.users import User


class OwnUser(msgspec.Struct):
    """A user as they see themselves."""

    id: int
    email: str
    username: str
    avatar_url: str
    score: int
    create_time: str


class ImageOnWire(msgspec.Struct):
    """An image: `params` is the flat text of the parts that stand beside it."""

    id: int
    username: str
    params: str
    likecount: int
    picture: str
    create_time: str
    prompt: str
    width: int
    height: int
    steps: int
    sampling_method: str
    seed: str


def own_user(user: User) -> OwnUser:
    return OwnUser(
        user.id, user.email, user.username, user.avatar_url, user.score, wire_time(user.create_time)
    )


def image_on_wire(image: DrawnImage, public_address: str) -> ImageOnWire:
    return ImageOnWire(
        id=image.id,
        username=image.username,
        params=_params(image),
        likecount=image.likecount,
        picture=picture_address(public_address, image.picture),
        create_time=wire_time(image.create_time),
        prompt=image.prompt,
        width=image.width,
        height=image.height,
        steps=image.steps,
        sampling_method=image.sampling_method,
        seed=image.seed,
    )


def picture_address(public_address: str, key: str) -> str:
    return f"{public_address}/images/{key}"


def wire_time(moment: datetime) -> str:
    """`2024-11-21T23:31:25.9242Z`: no trailing zeros in the fraction, no fraction when it is zero."""
    text = moment.astimezone(UTC).replace(tzinfo=None).isoformat()
    return (text.rstrip("0") if "." in text else text) + "Z"


def _params(image: DrawnImage) -> str:
    return (
        f"Prompt: {image.prompt}, Width: {image.width}, Height: {image.height}, "
        f"Steps: {image.steps}, SamplingMethod: {image.sampling_method}"
    )
