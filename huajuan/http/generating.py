"""Generating an image for points."""

from typing import Any

from litestar import Request, post

from huajuan.commands.generate_image import generate_image
from huajuan.dispatch.errors import NobodyDraws, QueueFull
from huajuan.dispatch.telling import Ending
from huajuan.domain.refusals import NotEnoughPoints, NotRegistered
from huajuan.event_store.caller import new_id
from huajuan.event_store.errors import LogUnavailable
from huajuan.http import phrases
from huajuan.http.bodies import Unreadable, malformed, read_object
from huajuan.http.desk import AtDesk, Desk
from huajuan.http.documented import (
    BUSY,
    NO_TOKEN_TRIED,
    TOO_LARGE,
    Said,
    Tried,
    replies,
    takes,
)
from huajuan.http.envelope import RETRY_AFTER_SECONDS, Answers, Refusal, answering
from huajuan.http.guards import BESIDE_TOKEN_REFUSAL
from huajuan.http.orders import OrderForm, read_order
from huajuan.http.presenting import EXAMPLE_PICTURE, Address, picture_address
from huajuan.http.tokens import Me
from huajuan.projections.history import HISTORY
from huajuan.projections.point_balances import POINT_BALANCES
from huajuan.projections.point_history import POINT_HISTORY


class GeneratedReply(Tried, kw_only=True):
    """The picture, and what the account has left."""

    msg: str
    image_url: Address
    id: int
    score: int


def _failed(text: str, status: int = 401) -> Refusal:
    return Refusal(status, success=False, message=text)


GENERATE_ANSWERS: Answers = {
    Unreadable: malformed(success=False),
    NotRegistered: _failed(phrases.ACCOUNT_QUERY_FAILED),
    NotEnoughPoints: _failed(phrases.NOT_ENOUGH_POINTS),
    LogUnavailable: _failed(phrases.POINTS_NOT_UPDATED),
    QueueFull: Refusal(429, {"Retry-After": RETRY_AFTER_SECONDS}, success=False, message=phrases.QUEUE_FULL),
    NobodyDraws: Refusal(503, {"Retry-After": RETRY_AFTER_SECONDS}, success=False, message=phrases.NOT_DRAWN),
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
    tags=["Drawing"],
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
        patience = desk.settings.generate_wait_seconds
        ending = await generate_image(desk.room, me.account_id, new_id("image"), order, patience)
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
