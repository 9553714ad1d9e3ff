"""The read tables: their status, rebuilds, and skipped events."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import msgspec
from litestar import Request
from litestar.params import FromPath

from huajuan.commands.operations import previous_act, request_rebuild
from huajuan.commands.operations import skip_event as append_skip
from huajuan.domain.refusals import AlreadySkipped
from huajuan.event_store.store import ChangeResult, EventStore, after_commit
from huajuan.http import messages
from huajuan.http.errors import ApiError
from huajuan.http.openapi.operations import json_body, operation
from huajuan.http.openapi.responses import MessageResponse
from huajuan.http.request import WHOLE_NUMBER_MAX, Reason, read_form, reason_in
from huajuan.http.serializers import EXAMPLE_PROJECTION, ProjectionOnWire, projection_on_wire
from huajuan.projections.engine.checkpoints import NotStoppedAtPosition, held_at_stop
from huajuan.projections.engine.projection import Projection
from huajuan.projections.engine.runner import Projector
from huajuan.projections.engine.status import projection_statuses, was_rebuild_started
from huajuan.projections.engine.table import ReadTables
from huajuan.projections.rebuild.process import RebuildProcesses
from huajuan.settings import Settings

# Retry-After of a rebuild request while another rebuild runs.
REBUILD_RETRY_SECONDS = "10"


class RebuildForm(msgspec.Struct):
    """The reason for a rebuild."""

    reason: Reason = ""


class SkipForm(msgspec.Struct):
    """The position at which the projection is stopped, and the reason for the skip."""

    position: Annotated[int, msgspec.Meta(ge=1, le=WHOLE_NUMBER_MAX)]
    reason: Reason = ""


class ProjectionsResponse(MessageResponse, kw_only=True):
    """Each read table's status."""

    projections: list[ProjectionOnWire]


class ProjectionResponse(MessageResponse, kw_only=True):
    """One read table's status."""

    projection: ProjectionOnWire


NO_SUCH_PROJECTION = ApiError(404, message=messages.NO_SUCH_PROJECTION)
NOT_STOPPED_THERE = ApiError(409, message=messages.NOT_STOPPED_THERE)
STILL_REBUILDING = ApiError(409, {"Retry-After": REBUILD_RETRY_SECONDS}, message=messages.IN_PROGRESS)
EXAMPLES = [{"message": messages.SUCCEEDED, "projection": EXAMPLE_PROJECTION}]


@operation("Admin", examples=[{"message": messages.SUCCEEDED, "projections": [EXAMPLE_PROJECTION]}])
async def list_projections(
    projector: Projector, tables: ReadTables, store: EventStore
) -> ProjectionsResponse:
    """The status of each read table. Position, speed, lock holder, error, skipped events and last rebuild."""
    found = await _statuses(projector.projections, tables, store)
    return ProjectionsResponse(code=200, message=messages.SUCCEEDED, projections=found)


@operation(
    "Admin",
    examples=EXAMPLES,
    body=json_body(RebuildForm, {"reason": "a fold was mended"}, "reason"),
    raises=(NO_SUCH_PROJECTION, STILL_REBUILDING),
)
async def rebuild(
    request: Request[Any, Any, Any],
    name: FromPath[str],
    store: EventStore,
    projector: Projector,
    tables: ReadTables,
    rebuilds: RebuildProcesses,
) -> ProjectionResponse:
    """Rebuild a read table from the log.

    The rebuild runs in its own process while the table stays readable.
    """
    projection = _projection(projector, name)
    reason = reason_in(await read_form(request, RebuildForm))
    earlier = await previous_act(store, projection.schema)
    found = await _status(projection, tables, store)
    if earlier and await was_rebuild_started(tables, earlier.position):
        return ProjectionResponse(code=200, message=messages.SUCCEEDED, projection=found)
    if found.rebuilding and not earlier:
        raise STILL_REBUILDING
    # An earlier run of this request may be about to start the rebuild: it is started once, by either of them.
    is_started = await rebuilds.start(projection.name, _requesting(store, projection, reason, earlier))
    if not (is_started or earlier):
        raise STILL_REBUILDING
    with after_commit("status of the read table"):
        found = await _status(projection, tables, store)
    # The process may not have recorded its start yet.
    started = msgspec.structs.replace(found, rebuilding=not rebuilds.failed_to_start(name))
    return ProjectionResponse(code=200, message=messages.SUCCEEDED, projection=started)


@operation(
    "Admin",
    examples=EXAMPLES,
    body=json_body(SkipForm, {"position": 4711, "reason": "its file is lost"}, "reason"),
    errors={NotStoppedAtPosition: NOT_STOPPED_THERE, AlreadySkipped: NOT_STOPPED_THERE},
    raises=(NO_SUCH_PROJECTION,),
)
async def skip_event(
    request: Request[Any, Any, Any],
    name: FromPath[str],
    store: EventStore,
    projector: Projector,
    tables: ReadTables,
    settings: Settings,
) -> ProjectionResponse:
    """Skip the event at which a read table is stopped, and continue after it."""
    projection = _projection(projector, name)
    form = await read_form(request, SkipForm)
    found = await _status(projection, tables, store)
    dsn, seconds_max, reason = settings.database_url, settings.statement_seconds_max, reason_in(form)
    try:
        async with held_at_stop(dsn, projection, form.position, seconds_max) as topic:
            await append_skip(store, projection.schema, form.position, topic, reason)
    except (NotStoppedAtPosition, AlreadySkipped):
        if not await previous_act(store, projection.schema):
            raise
    with after_commit("status of the read table"):
        found = await _status(projection, tables, store)
    return ProjectionResponse(code=200, message=messages.SUCCEEDED, projection=found)


def _projection(projector: Projector, name: str) -> Projection:
    by_name = {projection.name: projection for projection in projector.projections}
    if name not in by_name:
        raise NO_SUCH_PROJECTION
    return by_name[name]


def _requesting(
    store: EventStore, projection: Projection, reason: str, earlier: ChangeResult | None
) -> Callable[[], Awaitable[int]]:
    """Appends the request, unless an earlier run did, and returns its position."""

    async def append() -> int:
        return (earlier or await request_rebuild(store, projection.schema, reason)).position

    return append


async def _status(projection: Projection, tables: ReadTables, store: EventStore) -> ProjectionOnWire:
    return (await _statuses([projection], tables, store))[0]


async def _statuses(
    wanted: list[Projection], tables: ReadTables, store: EventStore
) -> list[ProjectionOnWire]:
    return [
        projection_on_wire(status) for status in await projection_statuses(tables, store.stream_ids, wanted)
    ]
