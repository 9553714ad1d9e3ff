"""Generations: request a picture, follow its job, cancel it."""

from datetime import datetime
from typing import Any, Literal, get_args
from uuid import UUID

import msgspec
from litestar import Request, Response
from litestar.params import FromPath
from msgspec.structs import asdict

from huajuan.auth.sessions import Claims
from huajuan.commands.generate_image import ImageOutcomeUnknown, cancel_image, generate_image, request_image
from huajuan.domain.refusals import ImageNotFound, NotEnoughPoints, NotRegistered
from huajuan.domain.rules import PICTURE_COST
from huajuan.event_store.errors import DatabaseUnavailable
from huajuan.event_store.request_context import new_id
from huajuan.event_store.store import after_commit
from huajuan.http import messages
from huajuan.http.content_negotiation import RESPOND_ASYNC, prefers
from huajuan.http.errors import (
    ApiError,
    ErrorTable,
    UnreadableBody,
    invalid_parameter,
    result_error,
    token_error,
)
from huajuan.http.generation_status import (
    EXAMPLE_CANCELLED,
    EXAMPLE_QUEUED,
    EXAMPLE_SUCCEEDED,
    PATH,
    JobOnWire,
    JobResponse,
    JobViews,
    number_of,
)
from huajuan.http.openapi.operations import (
    PAGE_PARAMETERS,
    header_param,
    invalid_parameters,
    json_body,
    operation,
    query_params,
)
from huajuan.http.openapi.responses import MessageResponse, ResultResponse
from huajuan.http.request import (
    GENERATE_FIELD_ERRORS,
    ImageParametersForm,
    cursor_in,
    limit_of,
    query_of,
    read_image_parameters,
    read_object,
)
from huajuan.http.routes.points import NO_STORE, POSITION_MAX, PositionCursor
from huajuan.http.serializers import EXAMPLE_PICTURE, Address, picture_address
from huajuan.http.services import ReadYourWrites
from huajuan.http.urls import location, next_page
from huajuan.jobs.outcomes import JobOutcome
from huajuan.jobs.queue import NoServerAvailable, QueueFull
from huajuan.jobs.runner import JobRunner
from huajuan.projections.engine.table import ReadTables
from huajuan.projections.generations import (
    CANCELLED,
    GENERATIONS,
    SUCCEEDED,
    GenerationRow,
    Status,
    generation_of,
    generations_of,
)
from huajuan.projections.history import HISTORY
from huajuan.projections.point_balances import POINT_BALANCES
from huajuan.projections.point_history import POINT_HISTORY
from huajuan.projections.queries import encode_cursor
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


class JobsResponse(MessageResponse, kw_only=True):
    """Jobs, newest first; a `Link` header leads to older ones."""

    generations: list[JobOnWire]


JOB_ERRORS: ErrorTable = {ImageNotFound: ApiError(404, message=messages.NO_SUCH_IMAGE)}
EXAMPLE_LIST = [EXAMPLE_QUEUED | {"id": 10}, EXAMPLE_SUCCEEDED]


@operation(
    "Drawing",
    examples=[{"message": messages.SUCCEEDED, "generations": EXAMPLE_LIST}],
    parameters=query_params(**PAGE_PARAMETERS, status="only jobs in this state"),
    raises=invalid_parameters("limit", "after", "status"),
)
async def list_generations(
    request: Request[Any, Any, Any],
    claims: Claims,
    tables: ReadTables,
    job_views: JobViews,
    settings: Settings,
) -> Response[JobsResponse]:
    """One's own jobs, newest first."""
    given = query_of(request)
    limit, status = limit_of(given, settings.list_rows_max), given.get("status")
    if status not in (None, *get_args(Status)):
        raise invalid_parameter("status")
    before = cursor_in(given, PositionCursor, POSITION_MAX)
    found = await generations_of(tables, claims.account_id, before, limit + 1, status)
    headers = dict(NO_STORE)
    if len(found) > limit:
        headers |= next_page(request, settings.public_address, given, encode_cursor(found[limit - 1].id))
    jobs = await job_views.with_progress(found[:limit])
    return Response(JobsResponse(code=200, message=messages.SUCCEEDED, generations=jobs), headers=headers)


@operation("Drawing", examples=[{"message": messages.SUCCEEDED, **EXAMPLE_QUEUED}], errors=JOB_ERRORS)
async def get_generation(
    generation: FromPath[str], claims: Claims, tables: ReadTables, job_views: JobViews
) -> Response[JobResponse]:
    """One job: its state, its position in the queue, and its picture if there is one."""
    row = await generation_of(tables, claims.account_id, number_of(generation))
    if row is None:
        raise ImageNotFound
    (job,) = await job_views.with_progress([row])
    return Response(_job_reply(job), headers=NO_STORE)


@operation(
    "Drawing",
    examples=[{"message": messages.SUCCEEDED, **EXAMPLE_CANCELLED}],
    errors={**JOB_ERRORS, NotRegistered: token_error(messages.TOKEN_INVALID)},
)
async def cancel_generation(
    generation: FromPath[str],
    claims: Claims,
    job_runner: JobRunner,
    job_views: JobViews,
    read_your_writes: ReadYourWrites,
) -> JobResponse:
    """Cancel a job that waits or is being drawn; its points are returned. A finished job stays as it is."""
    row, _ = await job_views.read_from_log(generation, claims.account_id)
    outcome = await cancel_image(job_runner, claims.account_id, row.image_id)
    row = ended(row, outcome, job_runner.store.clock())
    with after_commit("job as it ended"):
        row, position = await job_views.read_from_log(generation, claims.account_id)
        await read_your_writes.wait_for(position, GENERATIONS, POINT_BALANCES, POINT_HISTORY)
    return _job_reply(job_views.without_progress(row))


def ended(row: GenerationRow, outcome: JobOutcome, now: datetime) -> GenerationRow:
    """The row as the outcome will change it, before that is read from the log."""
    if row.is_open:
        row.status = SUCCEEDED if outcome.picture else CANCELLED
        row.reason, row.picture, row.ended_at = outcome.reason, outcome.picture, now
        row.drawn_id = outcome.position if outcome.picture else None
        row.charged = row.points if outcome.picture else 0
    return row


def _job_reply(job: JobOnWire) -> JobResponse:
    return JobResponse(code=200, message=messages.SUCCEEDED, **asdict(job))
