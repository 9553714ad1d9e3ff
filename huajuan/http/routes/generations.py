"""One's own jobs: listed, looked at, cancelled."""

from datetime import datetime
from typing import Annotated, Any, get_args

import msgspec
from litestar import Request, Response, delete, get
from litestar.params import FromPath
from msgspec.structs import asdict

from huajuan.auth.tokens import Me
from huajuan.commands.cancel_image import cancel_image
from huajuan.domain.refusals import ImageNotFound, NotRegistered
from huajuan.event_store.after_commit import after_commit
from huajuan.http import messages
from huajuan.http.errors import Answers, Refusal, answering
from huajuan.http.generation_status import (
    EXAMPLE_CANCELLED,
    EXAMPLE_QUEUED,
    EXAMPLE_SUCCEEDED,
    PATH,
    JobOnWire,
    JobReply,
    job_now,
    job_on_wire,
    jobs_now,
    number_of,
    on_record,
    standing,
)
from huajuan.http.links import next_page
from huajuan.http.openapi.operations import BUSY, NO_TOKEN, Exact, Explained, Said, asks, replies
from huajuan.http.query_params import limit_of, query_of, unfit
from huajuan.http.routes.check_in import NO_STORE
from huajuan.http.services import AtDesk
from huajuan.jobs.outcomes import Ending
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
from huajuan.projections.queries.cursors import BadCursor, cursor_at, place_of

LAST_PLACE = 2**63 - 1
_Place = Annotated[int, msgspec.Meta(ge=1, le=LAST_PLACE)]


class JobsReply(Said, kw_only=True):
    """Jobs, newest first; a `Link` header leads to older ones."""

    generations: list[JobOnWire]


LIST_ANSWERS: Answers = {BadCursor: unfit("after")}
JOB_ANSWERS: Answers = {
    ImageNotFound: Refusal(404, message=messages.NO_SUCH_IMAGE),
    NotRegistered: Refusal(401, message=messages.TOKEN_INVALID),
}
NO_SUCH_JOB = (Said, [{"message": messages.NO_SUCH_IMAGE}])


@get(
    PATH,
    tags=["Drawing"],
    operation_id="ListGenerations",
    operation_class=asks(
        limit="how many at most",
        after="where the `Link` of the page before leads",
        status="only jobs in this state",
    ),
    responses=replies(
        {
            200: (
                JobsReply,
                [{"message": messages.WELL, "generations": [EXAMPLE_QUEUED | {"id": 10}, EXAMPLE_SUCCEEDED]}],
            ),
            400: (
                Explained,
                [{"message": messages.QUERY_UNFIT, "error": n} for n in ("limit", "after", "status")],
            ),
            401: (Said, NO_TOKEN),
            503: (Said, BUSY),
        }
    ),
)
async def own_generations(request: Request[Any, Any, Any], me: Me, desk: AtDesk) -> Response[JobsReply]:
    """One's own jobs, newest first."""
    given = query_of(request)
    limit, status = limit_of(given, desk.settings.list_rows_max), given.get("status")
    if status not in (None, *get_args(Status)):
        raise unfit("status")
    with answering(LIST_ANSWERS):
        before = place_of(given["after"], _Place) if "after" in given else LAST_PLACE
    found = await generations_of(desk.tables, me.account_id, before, limit + 1, status)
    headers = dict(NO_STORE)
    if len(found) > limit:
        after = cursor_at(found[limit - 1].id)
        headers |= next_page(request, desk.settings.public_address, given, after)
    jobs = await jobs_now(desk, found[:limit])
    return Response(JobsReply(code=200, message=messages.WELL, generations=jobs), headers=headers)


@get(
    f"{PATH}/{{generation:str}}",
    tags=["Drawing"],
    operation_id="GetGeneration",
    operation_class=Exact,
    responses=replies(
        {
            200: (JobReply, [{"message": messages.WELL, **EXAMPLE_QUEUED}]),
            401: (Said, NO_TOKEN),
            404: NO_SUCH_JOB,
            503: (Said, BUSY),
        }
    ),
)
async def own_generation(generation: FromPath[str], me: Me, desk: AtDesk) -> Response[JobReply]:
    """One job: its state, its place in the queue, and its picture once there is one."""
    with answering(JOB_ANSWERS):
        row = await generation_of(desk.tables, me.account_id, number_of(generation))
        if row is None:
            raise ImageNotFound
    return Response(job_reply(await job_now(desk, row)), headers=NO_STORE)


@delete(
    f"{PATH}/{{generation:str}}",
    tags=["Drawing"],
    status_code=200,
    operation_id="CancelGeneration",
    operation_class=Exact,
    responses=replies(
        {
            200: (JobReply, [{"message": messages.WELL, **EXAMPLE_CANCELLED}]),
            401: (Said, NO_TOKEN),
            404: NO_SUCH_JOB,
            503: (Said, BUSY),
        }
    ),
)
async def cancel_generation(generation: FromPath[str], me: Me, desk: AtDesk) -> JobReply:
    """Cancel a job that waits or is being drawn; its points come back. One that has ended stays as it is."""
    with answering(JOB_ANSWERS):
        row, _ = await on_record(desk, generation, me.account_id)
        ending = await cancel_image(desk.room, me.account_id, row.image_id)
    row = ended(row, ending, desk.store.clock())
    with after_commit("job as it ended"):
        row, position = await on_record(desk, generation, me.account_id)
        await desk.show(position, GENERATIONS, POINT_BALANCES, POINT_HISTORY)
    job = job_on_wire(row, standing(row, None, None, desk.store.clock()), desk.settings.public_address)
    return job_reply(job)


def ended(row: GenerationRow, ending: Ending, now: datetime) -> GenerationRow:
    """What is known of the job's end before it is read."""
    if row.is_open:
        row.status = SUCCEEDED if ending.picture else CANCELLED
        row.reason, row.picture, row.ended_at = ending.reason, ending.picture, now
        row.drawn_id = ending.position if ending.picture else None
        row.charged = row.points if ending.picture else 0
    return row


def job_reply(job: JobOnWire) -> JobReply:
    return JobReply(code=200, message=messages.WELL, **asdict(job))
