"""One's own jobs: list, look up, cancel."""

from datetime import datetime
from typing import Any, get_args

from litestar import Request, Response
from litestar.params import FromPath
from msgspec.structs import asdict

from huajuan.auth.sessions import Claims
from huajuan.commands.generate_image import cancel_image
from huajuan.domain.refusals import ImageNotFound, NotRegistered
from huajuan.event_store.store import after_commit
from huajuan.http import messages
from huajuan.http.errors import ApiError, ErrorTable, invalid_parameter, token_error
from huajuan.http.generation_status import (
    EXAMPLE_CANCELLED,
    EXAMPLE_QUEUED,
    EXAMPLE_SUCCEEDED,
    JobOnWire,
    JobResponse,
    JobViews,
    number_of,
)
from huajuan.http.openapi.operations import PAGE_PARAMETERS, invalid_parameters, operation, query_params
from huajuan.http.openapi.responses import MessageResponse
from huajuan.http.query_params import cursor_in, limit_of, query_of
from huajuan.http.routes.points import NO_STORE, POSITION_MAX, PositionCursor
from huajuan.http.services import ReadYourWrites
from huajuan.http.urls import next_page
from huajuan.jobs.outcomes import JobOutcome
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
from huajuan.projections.point_balances import POINT_BALANCES
from huajuan.projections.point_history import POINT_HISTORY
from huajuan.projections.queries import encode_cursor
from huajuan.settings import Settings


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
