"""Generating images and finding one's own."""

from typing import Any
from uuid import uuid4

from litestar import Request, get, post

from huajuan.commands.generate_image import generate_image
from huajuan.dispatch.room import RoomFull
from huajuan.dispatch.telling import Ending
from huajuan.domain.refusals import NotEnoughPoints, NotRegistered
from huajuan.event_store.errors import LogUnavailable
from huajuan.http import phrases
from huajuan.http.bodies import Unreadable, malformed, read_object
from huajuan.http.desk import AtDesk, Desk
from huajuan.http.documented import (
    BUSY,
    NO_TOKEN,
    NO_TOKEN_TRIED,
    TOO_LARGE,
    Explained,
    Said,
    Tried,
    replies,
    takes,
)
from huajuan.http.envelope import RETRY_AFTER_SECONDS, Answers, Refusal, answering
from huajuan.http.guards import BESIDE_TOKEN_REFUSAL
from huajuan.http.orders import OrderForm, read_order
from huajuan.http.presenting import ImageOnWire, image_on_wire, picture_address
from huajuan.http.tokens import Me
from huajuan.projections.history import HISTORY, images_of
from huajuan.projections.point_balances import POINT_BALANCES
from huajuan.projections.point_history import POINT_HISTORY

EXAMPLE_PICTURE = "http://localhost:8080/images/5f0c6a1e9d6b4d0f8a3c2b1e7d9f4a60.png"


class GeneratedReply(Tried, kw_only=True):
    """The picture, and what the account has left."""

    msg: str
    image_url: str
    id: int
    score: int


class ImagesReply(Said, kw_only=True):
    """Images, oldest first."""

    images: list[ImageOnWire]


def _failed(text: str, status: int = 401) -> Refusal:
    return Refusal(status, success=False, message=text)


GENERATE_ANSWERS: Answers = {
    Unreadable: malformed(success=False),
    NotRegistered: _failed(phrases.ACCOUNT_QUERY_FAILED),
    NotEnoughPoints: _failed(phrases.NOT_ENOUGH_POINTS),
    LogUnavailable: _failed(phrases.POINTS_NOT_UPDATED),
    RoomFull: Refusal(429, {"Retry-After": RETRY_AFTER_SECONDS}, success=False, message=phrases.QUEUE_FULL),
}
IMAGES_ANSWERS: Answers = {
    LogUnavailable: Refusal(500, message=phrases.IMAGES_OF_USER_FAILED, error=phrases.DATABASE_AWAY),
}
_FIELD_TEXTS = (
    phrases.MALFORMED,
    phrases.PROMPT_MISSING,
    phrases.PROMPT_TOO_LONG,
    phrases.WIDTH_OUT_OF_RANGE,
    phrases.HEIGHT_OUT_OF_RANGE,
    phrases.STEPS_OUT_OF_RANGE,
    phrases.METHOD_OUT_OF_RANGE,
    phrases.SEED_MISSING,
)


def _tried(*texts: str) -> list[dict[str, Any]]:
    return [{"success": False, "message": text} for text in texts]


@post(
    "/auth/generate",
    status_code=200,
    operation_id="Generate",
    opt={BESIDE_TOKEN_REFUSAL: {"success": False}},
    operation_class=takes(
        OrderForm,
        {"prompt": "sun", "width": 220, "height": 200, "steps": 30, "sampling_method": "DDIM", "seed": "7"},
    ),
    responses=replies(
        {
            200: (
                GeneratedReply,
                [
                    {
                        "success": True,
                        "message": phrases.BALANCE.format(score=80),
                        "msg": phrases.BALANCE.format(score=80),
                        "image_url": EXAMPLE_PICTURE,
                        "id": 6,
                        "score": 80,
                    }
                ],
            ),
            400: (Tried, _tried(*_FIELD_TEXTS)),
            401: (
                Tried,
                NO_TOKEN_TRIED
                + _tried(phrases.ACCOUNT_QUERY_FAILED, phrases.NOT_ENOUGH_POINTS, phrases.POINTS_NOT_UPDATED),
            ),
            413: (Said, TOO_LARGE),
            429: (Tried, _tried(phrases.QUEUE_FULL)),
            500: (Tried, _tried(phrases.NOT_DRAWN)),
            503: (Said, BUSY),
        }
    ),
)
async def generate(request: Request[Any, Any, Any], me: Me, desk: AtDesk) -> GeneratedReply:
    """Have a picture drawn for 20 points, which come back if it is not."""
    with answering(GENERATE_ANSWERS):
        order = read_order(await read_object(request))
        ending = await generate_image(desk.room, me.account_id, uuid4(), order)
    await desk.show(ending.position, HISTORY, POINT_BALANCES, POINT_HISTORY)
    return _generated(ending, desk)


def _generated(ending: Ending, desk: Desk) -> GeneratedReply:
    if ending.picture is None:
        raise _failed(phrases.NOT_DRAWN, 500)
    balance = phrases.BALANCE.format(score=ending.balance)
    return GeneratedReply(
        code=200,
        success=True,
        message=balance,
        msg=balance,
        image_url=picture_address(desk.settings.public_address, ending.picture),
        id=ending.position,
        score=ending.balance,
    )


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
}


@get(
    "/auth/user/images",
    operation_id="ListOwnImages",
    responses=replies(
        {
            200: (ImagesReply, [{"message": phrases.IMAGES_OF_USER, "images": [EXAMPLE_IMAGE]}]),
            401: (Said, NO_TOKEN),
            500: (Explained, [{"message": phrases.IMAGES_OF_USER_FAILED, "error": phrases.DATABASE_AWAY}]),
        }
    ),
)
async def own_images(me: Me, desk: AtDesk) -> ImagesReply:
    """What was drawn for one's own account, oldest first."""
    with answering(IMAGES_ANSWERS):
        found = await images_of(desk.tables, me.account_id, desk.settings.list_rows_max)
    address = desk.settings.public_address
    return ImagesReply(
        code=200,
        message=phrases.IMAGES_OF_USER,
        images=[image_on_wire(image, address) for image in found],
    )
