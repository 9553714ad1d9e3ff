"""Generating an image for points."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

import msgspec
from litestar import Request, Response, post
from litestar.enums import ParamType
from litestar.openapi.spec import Parameter
from msgspec.structs import asdict

from huajuan.auth.tokens import Me
from huajuan.commands.generate_image import EndUnknown, ask_for_image, generate_image
from huajuan.domain.image_parameters import Order
from huajuan.domain.points import PICTURE_COST
from huajuan.domain.refusals import NotEnoughPoints, NotRegistered
from huajuan.event_store.after_commit import after_commit
from huajuan.event_store.errors import LogUnavailable
from huajuan.event_store.request_context import new_id
from huajuan.http import messages
from huajuan.http.errors import Answers, Refusal, answering
from huajuan.http.generation_status import (
    EXAMPLE_QUEUED,
    PATH,
    JobReply,
    job_now,
    job_on_wire,
    on_record,
    standing,
)
from huajuan.http.image_parameters import OrderForm, read_order
from huajuan.http.links import location
from huajuan.http.middleware.guards import BESIDE_TOKEN_REFUSAL
from huajuan.http.openapi.json_schemas import TEXT, schema_of
from huajuan.http.openapi.operations import BUSY, NO_TOKEN_TRIED, TOO_LARGE, Said, Tried, replies, takes
from huajuan.http.prefer_header import RESPOND_ASYNC, prefers
from huajuan.http.request_body import Unreadable, malformed, read_object
from huajuan.http.serializers import EXAMPLE_PICTURE, Address, picture_address
from huajuan.http.services import AtDesk, Desk
from huajuan.jobs.errors import NobodyDraws, QueueFull
from huajuan.jobs.outcomes import Ending
from huajuan.projections.generations import GENERATIONS, GenerationRow
from huajuan.projections.history import HISTORY
from huajuan.projections.point_balances import POINT_BALANCES
from huajuan.projections.point_history import POINT_HISTORY

# A painter that went away is looked for about so often.
PAINTER_RETRY_SECONDS = "10"


NotApplied = list[Literal["steps", "sampling_method"]] | msgspec.UnsetType


class GeneratedReply(Tried, kw_only=True):
    """The picture, and what the account has left.

    `not_applied` names parameters that change nothing, for the workflow has its own; absent where there are none.
    """

    msg: str
    image_url: Address
    id: int
    score: int
    generation_id: int
    not_applied: NotApplied = msgspec.UNSET


class AskedReply(JobReply, kw_only=True):
    """The job, which is on record now. `not_applied` as in the reply with the picture."""

    success: bool
    not_applied: NotApplied = msgspec.UNSET


class TriedLater(Said, kw_only=True):
    """Nothing was done; `success` is absent where the service as a whole is busy."""

    success: bool | msgspec.UnsetType = msgspec.UNSET


def _failed(text: str, status: int = 401) -> Refusal:
    return Refusal(status, success=False, message=text)


def _nobody_draws(text: str) -> Refusal:
    return Refusal(503, {"Retry-After": PAINTER_RETRY_SECONDS}, success=False, message=text)


GENERATE_ANSWERS: Answers = {
    Unreadable: malformed(success=False),
    NotRegistered: _failed(messages.ACCOUNT_QUERY_FAILED),
    NotEnoughPoints: _failed(messages.NOT_ENOUGH_POINTS),
    LogUnavailable: _failed(messages.POINTS_NOT_UPDATED),
    NobodyDraws: _nobody_draws(messages.NOT_DRAWN),
}
ASK_ANSWERS: Answers = {**GENERATE_ANSWERS, NobodyDraws: _nobody_draws(messages.BUSY)}
_FIELD_TEXTS = (
    messages.MALFORMED,
    messages.PROMPT_MISSING,
    messages.PROMPT_TOO_LONG,
    messages.WIDTH_OUT_OF_RANGE,
    messages.HEIGHT_OUT_OF_RANGE,
    messages.STEPS_OUT_OF_RANGE,
    messages.METHOD_OUT_OF_RANGE,
    messages.SEED_MISSING,
)


def _tried(*texts: str) -> list[dict[str, Any]]:
    return [{"success": False, "message": text} for text in texts]


_TAKEN = takes(
    OrderForm,
    {"prompt": "sun", "width": 220, "height": 200, "steps": 30, "sampling_method": "DDIM", "seed": "7"},
)


@dataclass
class _GenerateOperation(_TAKEN):  # type: ignore[misc, valid-type]
    """What one would like rather than to wait."""

    def __post_init__(self) -> None:
        super().__post_init__()
        text = f"`{RESPOND_ASYNC}`: reply with the job at once."
        self.parameters = [
            Parameter("Prefer", ParamType.HEADER.value, description=text, schema=schema_of(TEXT))
        ]


@post(
    "/auth/generate",
    tags=["Drawing"],
    status_code=200,
    operation_id="Generate",
    opt={BESIDE_TOKEN_REFUSAL: {"success": False}},
    operation_class=_GenerateOperation,
    responses=replies(
        {
            200: (
                GeneratedReply,
                [
                    {
                        "success": True,
                        "message": messages.BALANCE.format(score=80),
                        "msg": messages.BALANCE.format(score=80),
                        "image_url": EXAMPLE_PICTURE,
                        "id": 9,
                        "score": 80,
                        "generation_id": 8,
                    }
                ],
            ),
            202: (AskedReply, [{"success": True, "message": messages.WELL, **EXAMPLE_QUEUED}]),
            400: (Tried, _tried(*_FIELD_TEXTS)),
            401: (
                Tried,
                NO_TOKEN_TRIED
                + _tried(
                    messages.ACCOUNT_QUERY_FAILED, messages.NOT_ENOUGH_POINTS, messages.POINTS_NOT_UPDATED
                ),
            ),
            413: (Said, TOO_LARGE),
            429: (Tried, _tried(messages.QUEUE_FULL)),
            500: (Tried, _tried(messages.NOT_DRAWN)),
            503: (TriedLater, [*BUSY, *_tried(messages.NOT_DRAWN, messages.BUSY)]),
        }
    ),
)
async def generate(request: Request[Any, Any, Any], me: Me, desk: AtDesk) -> Response[Any]:
    """Have a picture drawn for 20 points, which come back if it is not.

    With `Prefer: respond-async` the reply does not wait for the picture: it is the job, whose address is in
    `Location`. A client that goes away while it waits loses nothing: the picture is in its history.
    """
    with answering(GENERATE_ANSWERS):
        order = read_order(await read_object(request))
    if prefers(request.headers.getall("prefer", []), RESPOND_ASYNC):
        return await _ask(desk, me.account_id, order)
    try:
        with asking(GENERATE_ANSWERS):
            patience = desk.settings.generate_wait_seconds
            ending = await generate_image(desk.room, me.account_id, new_id("image"), order, patience)
    except EndUnknown as asked:
        return await _asked(desk, me.account_id, asked.image_id, asked.position)
    await desk.show(ending.position, HISTORY, GENERATIONS, POINT_BALANCES, POINT_HISTORY)
    return Response(_generated(ending, desk))


async def _ask(desk: Desk, account_id: UUID, order: Order) -> Response[Any]:
    image_id = new_id("image")
    with asking(ASK_ANSWERS):
        position = await ask_for_image(desk.room, account_id, image_id, order)
    reply = await _asked(desk, account_id, image_id, position)
    reply.headers["Preference-Applied"] = RESPOND_ASYNC
    return reply


async def _asked(desk: Desk, account_id: UUID, image_id: UUID, position: int) -> Response[Any]:
    """The job, as it is on record."""
    await desk.show(position, GENERATIONS, POINT_BALANCES, POINT_HISTORY)
    new = GenerationRow(image_id, account_id, position, desk.store.clock(), PICTURE_COST)
    job = job_on_wire(new, standing(new, None, None, desk.store.clock()), desk.settings.public_address)
    with after_commit("look at the job"):  # else it is told as it was asked for
        job = await job_now(desk, (await on_record(desk, str(new.id), new.account_id)).row)
    ignored = _not_applied(desk)
    reply = AskedReply(code=202, success=True, message=messages.WELL, not_applied=ignored, **asdict(job))
    headers = location(desk.settings.public_address, f"{PATH}/{job.id}")
    return Response(reply, status_code=202, headers=headers)


@contextmanager
def asking(answers: Answers) -> Iterator[None]:
    """As answered; a full queue says itself when to come back."""
    try:
        with answering(answers):
            yield
    except QueueFull as full:
        later = {"Retry-After": str(full.retry_after_seconds)}
        raise Refusal(429, later, success=False, message=messages.QUEUE_FULL) from full


def _generated(ending: Ending, desk: Desk) -> GeneratedReply:
    if ending.picture is None:
        raise _failed(messages.NOT_DRAWN, 500)
    balance = messages.BALANCE.format(score=ending.balance)
    return GeneratedReply(
        code=200,
        success=True,
        message=balance,
        msg=balance,
        image_url=picture_address(desk.settings.public_address, ending.picture),
        id=ending.position,
        score=ending.balance,
        generation_id=ending.requested_at,
        not_applied=_not_applied(desk),
    )


def _not_applied(desk: Desk) -> NotApplied:
    ignored: Any = desk.room.workflows.not_applied
    return ignored or msgspec.UNSET
