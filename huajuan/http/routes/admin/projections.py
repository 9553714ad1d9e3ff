"""Admins look after the read tables: their status, rebuilds, and events that are skipped."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import msgspec
from litestar import Request, get, post
from litestar.params import FromPath

from huajuan.commands.ask_for_rebuild import ask_for_rebuild, asked_earlier
from huajuan.commands.skip_event import skip_event, skipped_earlier
from huajuan.domain.refusals import AlreadySkipped
from huajuan.event_store.after_commit import after_commit
from huajuan.event_store.store import Decided
from huajuan.http import messages
from huajuan.http.errors import Answers, Refusal, answering
from huajuan.http.openapi.operations import (
    BUSY,
    NO_TOKEN,
    TOO_LARGE,
    Detailed,
    Examples,
    Said,
    named,
    replies,
    takes,
)
from huajuan.http.projection_status import EXAMPLE_PROJECTION, ProjectionOnWire, projection_on_wire
from huajuan.http.query_params import WHOLE_NUMBER_MAX
from huajuan.http.reasons import REASON_REFUSALS, Reason, reason_in
from huajuan.http.request_body import Unreadable, malformed, read_form
from huajuan.http.services import AtDesk, Desk
from huajuan.projections.engine.projection import Projection
from huajuan.projections.engine.rebuild_status import was_begun
from huajuan.projections.engine.skips import NotStoppedThere, stopped_there
from huajuan.projections.engine.status import statuses

# One who asks for a rebuild while one runs is told to wait so long.
REBUILD_RETRY_SECONDS = "10"


class RebuildForm(msgspec.Struct):
    """Why the table is to be rebuilt."""

    reason: Reason = ""


class SkipForm(msgspec.Struct):
    """The position at which the projection is stopped, and why its event may be left out."""

    position: Annotated[int, msgspec.Meta(ge=1, le=WHOLE_NUMBER_MAX)]
    reason: Reason = ""


class ProjectionsReply(Said, kw_only=True):
    """Each read table's status."""

    projections: list[ProjectionOnWire]


class ProjectionReply(Said, kw_only=True):
    """One read table's status."""

    projection: ProjectionOnWire


FORBIDDEN: Examples = [{"message": messages.NOT_ADMIN}]
ACT_ANSWERS: Answers = {
    Unreadable: malformed(),
    NotStoppedThere: Refusal(409, message=messages.NOT_STOPPED_THERE),
    AlreadySkipped: Refusal(409, message=messages.NOT_STOPPED_THERE),
}


@get(
    "/admin/projections",
    tags=["Admin"],
    operation_id="ListProjections",
    responses=replies(
        {
            200: (ProjectionsReply, [{"message": messages.WELL, "projections": [EXAMPLE_PROJECTION]}]),
            401: (Said, NO_TOKEN),
            403: (Said, FORBIDDEN),
            503: (Said, BUSY),
        }
    ),
)
async def projections(desk: AtDesk) -> ProjectionsReply:
    """The status of each read table. How far and how fast, who leads, what stopped it, skips, its last rebuild."""
    found = desk.projector.projections
    return ProjectionsReply(code=200, message=messages.WELL, projections=await _on_wire(desk, found))


def _act_replies(conflict: str) -> Any:
    return replies(
        {
            200: (ProjectionReply, [{"message": messages.WELL, "projection": EXAMPLE_PROJECTION}]),
            400: (Detailed, [{"message": messages.MALFORMED}, *REASON_REFUSALS]),
            401: (Said, NO_TOKEN),
            403: (Said, FORBIDDEN),
            404: (Said, [{"message": messages.NO_SUCH_PROJECTION}]),
            409: (Said, [{"message": conflict}]),
            413: (Said, TOO_LARGE),
            503: (Said, BUSY),
        }
    )


@post(
    "/admin/projections/{name:str}/rebuild",
    tags=["Admin"],
    status_code=200,
    operation_id="Rebuild",
    operation_class=named(takes(RebuildForm, {"reason": "a fold was mended"}, "reason")),
    responses=_act_replies(messages.IN_PROGRESS),
)
async def rebuild(request: Request[Any, Any, Any], name: FromPath[str], desk: AtDesk) -> ProjectionReply:
    """Rebuild a read table from the log. It goes on in a process of its own, and nobody who reads notices."""
    projection = _projection(desk, name)
    with answering(ACT_ANSWERS):
        form = await read_form(request, RebuildForm)
    reason = reason_in(form)
    earlier = await asked_earlier(desk.store, projection.schema)
    if earlier and await was_begun(desk.tables, earlier.position):
        return ProjectionReply(code=200, message=messages.WELL, projection=await _status(desk, projection))
    found = await _status(desk, projection)
    if found.rebuilding and not earlier:
        raise _still_rebuilding()
    # One that was asked for by an earlier run may be about to begin: whichever is first, it is begun once.
    is_begun = await desk.rebuilds.start(projection.name, _asking(desk, projection, reason, earlier))
    if not (is_begun or earlier):
        raise _still_rebuilding()
    with after_commit("status of the read table"):
        found = await _status(desk, projection)
    # Its process may not have come so far as to say so itself.
    begun = msgspec.structs.replace(found, rebuilding=not desk.rebuilds.is_not_started(name))
    return ProjectionReply(code=200, message=messages.WELL, projection=begun)


@post(
    "/admin/projections/{name:str}/skip",
    tags=["Admin"],
    status_code=200,
    operation_id="SkipEvent",
    operation_class=named(takes(SkipForm, {"position": 4711, "reason": "its file is lost"}, "reason")),
    responses=_act_replies(messages.NOT_STOPPED_THERE),
)
async def skip(request: Request[Any, Any, Any], name: FromPath[str], desk: AtDesk) -> ProjectionReply:
    """Leave out the event at which a read table is stopped, and go on behind it."""
    projection = _projection(desk, name)
    with answering(ACT_ANSWERS):
        form = await read_form(request, SkipForm)
        found = await _status(desk, projection)
        try:
            await _skip(desk, projection, form.position, reason_in(form))
        except (NotStoppedThere, AlreadySkipped):
            if not await skipped_earlier(desk.store, projection.schema):
                raise
    with after_commit("status of the read table"):
        found = await _status(desk, projection)
    return ProjectionReply(code=200, message=messages.WELL, projection=found)


async def _skip(desk: Desk, projection: Projection, position: int, reason: str) -> None:
    dsn, seconds_max = desk.settings.database_url, desk.settings.statement_seconds_max
    async with stopped_there(dsn, projection, position, seconds_max) as topic:
        await skip_event(desk.store, projection.schema, position, topic, reason)


def _projection(desk: Desk, name: str) -> Projection:
    known = {projection.name: projection for projection in desk.projector.projections}
    if name not in known:
        raise Refusal(404, message=messages.NO_SUCH_PROJECTION)
    return known[name]


def _still_rebuilding() -> Refusal:
    return Refusal(409, {"Retry-After": REBUILD_RETRY_SECONDS}, message=messages.IN_PROGRESS)


def _asking(
    desk: Desk, projection: Projection, reason: str, earlier: Decided | None
) -> Callable[[], Awaitable[int]]:
    """What puts the request on record, unless an earlier run did, and tells where it is."""

    async def ask() -> int:
        return (earlier or await ask_for_rebuild(desk.store, projection.schema, reason)).position

    return ask


async def _status(desk: Desk, projection: Projection) -> ProjectionOnWire:
    return (await _on_wire(desk, [projection]))[0]


async def _on_wire(desk: Desk, wanted: list[Projection]) -> list[ProjectionOnWire]:
    return [projection_on_wire(s) for s in await statuses(desk.tables, desk.store.stream_ids, wanted)]
