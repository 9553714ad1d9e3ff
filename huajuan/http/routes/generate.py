"""Drawing a picture for points."""

from typing import Any, Literal
from uuid import UUID

import msgspec
from litestar import Request, Response
from msgspec.structs import asdict

from huajuan.auth.sessions import Claims
from huajuan.commands.generate_image import ImageOutcomeUnknown, generate_image, request_image
from huajuan.domain.refusals import NotEnoughPoints, NotRegistered
from huajuan.domain.rules import PICTURE_COST
from huajuan.event_store.errors import DatabaseUnavailable
from huajuan.event_store.request_context import new_id
from huajuan.event_store.store import after_commit
from huajuan.http import messages
from huajuan.http.content_negotiation import RESPOND_ASYNC, prefers
from huajuan.http.errors import ApiError, UnreadableBody, result_error
from huajuan.http.generation_status import EXAMPLE_QUEUED, PATH, JobResponse, JobViews
from huajuan.http.openapi.operations import header_param, json_body, operation
from huajuan.http.openapi.responses import ResultResponse
from huajuan.http.request_body import (
    GENERATE_FIELD_ERRORS,
    ImageParametersForm,
    read_image_parameters,
    read_object,
)
from huajuan.http.serializers import EXAMPLE_PICTURE, Address, picture_address
from huajuan.http.services import ReadYourWrites
from huajuan.http.urls import location
from huajuan.jobs.outcomes import JobOutcome
from huajuan.jobs.queue import NoServerAvailable, QueueFull
from huajuan.jobs.runner import JobRunner
from huajuan.projections.generations import GENERATIONS, GenerationRow
from huajuan.projections.history import HISTORY
from huajuan.projections.point_balances import POINT_BALANCES
from huajuan.projections.point_history import POINT_HISTORY
from huajuan.settings import Settings

# About how often a server that does not answer is asked again.
SERVER_RETRY_SECONDS = "10"
NotApplied = list[Literal["steps", "sampling_method"]] | msgspec.UnsetType


class GeneratedResponse(ResultResponse, kw_only=True):
    """The picture, and the points that the account has left.

    `not_applied` names parameters without effect, because the workflow has its own; absent if there are none.
    """

    msg: str
    image_url: Address
    id: int
    score: int
    generation_id: int
    not_applied: NotApplied = msgspec.UNSET


class AcceptedResponse(JobResponse, kw_only=True):
    """The recorded job. `not_applied` is as in the response with the picture."""

    success: bool
    not_applied: NotApplied = msgspec.UNSET


def _no_server(text: str) -> ApiError:
    return result_error(503, text, {"Retry-After": SERVER_RETRY_SECONDS})


NOT_DRAWN = result_error(500, messages.NOT_DRAWN)
NO_SERVER_ASYNC = _no_server(messages.BUSY)
EXAMPLE_GENERATED = {
    "success": True,
    "message": messages.BALANCE.format(score=80),
    "msg": messages.BALANCE.format(score=80),
    "image_url": EXAMPLE_PICTURE,
    "id": 9,
    "score": 80,
    "generation_id": 8,
}


@operation(
    "Drawing",
    success={
        200: (GeneratedResponse, [EXAMPLE_GENERATED]),
        202: (AcceptedResponse, [{"success": True, "message": messages.SUCCEEDED, **EXAMPLE_QUEUED}]),
    },
    body=json_body(
        ImageParametersForm,
        {"prompt": "sun", "width": 220, "height": 200, "steps": 30, "sampling_method": "DDIM", "seed": "7"},
    ),
    parameters=[header_param("Prefer", f"`{RESPOND_ASYNC}`: respond with the job at once.")],
    errors={
        UnreadableBody: result_error(400, messages.MALFORMED),
        NotRegistered: result_error(401, messages.ACCOUNT_QUERY_FAILED),
        NotEnoughPoints: result_error(401, messages.NOT_ENOUGH_POINTS),
        DatabaseUnavailable: result_error(401, messages.POINTS_NOT_UPDATED),
        QueueFull: result_error(429, messages.QUEUE_FULL),
        NoServerAvailable: _no_server(messages.NOT_DRAWN),
    },
    raises=(*GENERATE_FIELD_ERRORS, NOT_DRAWN, NO_SERVER_ASYNC),
    token_error=lambda text: result_error(401, text),
)
async def generate(
    request: Request[Any, Any, Any],
    claims: Claims,
    job_runner: JobRunner,
    job_views: JobViews,
    settings: Settings,
    read_your_writes: ReadYourWrites,
) -> Response[Any]:
    """Draw a picture for 20 points, which are returned if that fails.

    With `Prefer: respond-async` the response does not wait for the picture: it is the job, \
whose address is in
    `Location`. A client that disconnects while it waits loses nothing: the picture is in its history.
    """
    parameters = read_image_parameters(await read_object(request))
    account_id, image_id, headers = claims.account_id, new_id("image"), {}
    try:
        if prefers(request.headers.getall("prefer", []), RESPOND_ASYNC):
            headers["Preference-Applied"] = RESPOND_ASYNC
            position = await _ask(job_runner, account_id, image_id, parameters)
        else:
            seconds_max = settings.generate_wait_seconds
            outcome = await generate_image(job_runner, account_id, image_id, parameters, seconds_max)
            await read_your_writes.wait_for(
                outcome.position, HISTORY, GENERATIONS, POINT_BALANCES, POINT_HISTORY
            )
            return Response(_generated(outcome, job_runner, settings.public_address))
    except ImageOutcomeUnknown as asked:
        image_id, position = asked.image_id, asked.position
    await read_your_writes.wait_for(position, GENERATIONS, POINT_BALANCES, POINT_HISTORY)
    new = GenerationRow(image_id, account_id, position, job_runner.store.clock(), PICTURE_COST)
    return await _accepted(
        new, job_runner, job_views, headers | location(settings.public_address, f"{PATH}/{new.id}")
    )


async def _ask(job_runner: JobRunner, account_id: UUID, image_id: UUID, parameters: Any) -> int:
    """The position of the request in the log."""
    try:
        return await request_image(job_runner, account_id, image_id, parameters)
    except NoServerAvailable:
        raise NO_SERVER_ASYNC from None


async def _accepted(
    new: GenerationRow, job_runner: JobRunner, job_views: JobViews, headers: dict[str, str]
) -> Response[Any]:
    job = job_views.without_progress(new)
    with after_commit("look at the job"):  # without it, the response shows the job as it was requested
        recorded = await job_views.read_from_log(str(new.id), new.account_id)
        (job,) = await job_views.with_progress([recorded.row])
    reply = AcceptedResponse(
        code=202,
        success=True,
        message=messages.SUCCEEDED,
        not_applied=_not_applied(job_runner),
        **asdict(job),
    )
    return Response(reply, status_code=202, headers=headers)


def _generated(outcome: JobOutcome, job_runner: JobRunner, address: str) -> GeneratedResponse:
    if outcome.picture is None:
        raise NOT_DRAWN
    balance = messages.BALANCE.format(score=outcome.balance)
    return GeneratedResponse(
        code=200,
        success=True,
        message=balance,
        msg=balance,
        image_url=picture_address(address, outcome.picture),
        id=outcome.position,
        score=outcome.balance,
        generation_id=outcome.requested_at,
        not_applied=_not_applied(job_runner),
    )


def _not_applied(job_runner: JobRunner) -> NotApplied:
    ignored: Any = job_runner.workflows.not_applied
    return ignored or msgspec.UNSET
