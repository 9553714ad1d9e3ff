"""`/healthz` and `/readyz`: whether this process answers, and whether the service is ready."""

import asyncio
from collections.abc import Iterable, Iterator
from typing import Any

from litestar import Response

from huajuan.event_store.errors import DatabaseFailure
from huajuan.http import messages
from huajuan.http.errors import BUSY
from huajuan.http.openapi.enumerations import BALANCED, DEGRADED, READY, UNKNOWN, UNREADY
from huajuan.http.openapi.operations import operation
from huajuan.http.openapi.responses import MessageResponse
from huajuan.jobs.runner import JobRunner
from huajuan.projections.engine.checkpoints import AHEAD_OF_LOG, CheckpointLag, checkpoint_lags
from huajuan.projections.engine.runner import Projector
from huajuan.projections.engine.table import ReadTables
from huajuan.projections.queries.points import PointsAudit
from huajuan.projections.registry import PROJECTIONS
from huajuan.runtime.health import HealthChecks, Problem
from huajuan.settings import Settings

QUERY_SECONDS_MAX = 2.0


class ReadyResponse(MessageResponse, kw_only=True):
    """Whether the database answers, whether all points add up, and how far each read table is behind the log.

    `status` is `ready`, `degraded` (200: something is wrong, requests are served) or `unready` (503).
    `drawing` is false while no inference server answers, which is a problem after some seconds.
    """

    status: str
    database: bool
    points: str
    drawing: bool
    problems: list[Problem]
    projections: dict[str, CheckpointLag]


@operation("Operations", examples=[{"message": messages.SUCCEEDED}], is_probe=True)
async def health() -> MessageResponse:
    """This process responds."""
    return MessageResponse(code=200, message=messages.SUCCEEDED)


def _example(message: str, status: str, points: str, **changes: Any) -> dict[str, Any]:
    table = {
        "projection": "users_v1",
        "position": 9,
        "lag_events": 0,
        "lag_seconds": 0.0,
        "stopped_at": None,
        "stopped_by": None,
    }
    fields = {"database": True, "drawing": True, "problems": [], "projections": {"users_v1": table}}
    return {"message": message, "status": status, "points": points} | fields | changes


@operation(
    "Operations",
    success={
        200: (
            ReadyResponse,
            [
                _example(messages.SUCCEEDED, READY, BALANCED),
                _example(messages.UNBALANCED, DEGRADED, "unbalanced by 20"),
            ],
        ),
        503: (
            ReadyResponse,
            [_example(messages.BUSY, UNREADY, UNKNOWN, database=False, drawing=False, projections={})],
        ),
    },
    is_probe=True,
)
async def readiness(
    tables: ReadTables,
    projector: Projector,
    health: HealthChecks,
    points_audit: PointsAudit,
    job_runner: JobRunner,
    settings: Settings,
) -> Response[ReadyResponse]:
    """The database answers, and the read tables follow the log.

    Missing points are shown, but stop nothing.
    """
    found, unaccounted = await _checkpoints(tables, projector), points_audit.unaccounted
    problems = [*health.problems(), *_table_problems(found or (), settings)]
    is_ready = found is not None and projector.is_alive() and not any(each.blocking for each in problems)
    status = 200 if is_ready else 503
    reply = ReadyResponse(
        code=status,
        message=_message(is_ready, unaccounted),
        status=_status(is_ready, bool(problems or unaccounted)),
        database=found is not None,
        points=_points(unaccounted),
        drawing=len(job_runner.servers) > 0,
        problems=problems,
        projections={each.projection: each for each in found or ()},
    )
    return Response(reply, status_code=status, headers={} if is_ready else BUSY.headers)


def _message(is_ready: bool, unaccounted: int | None) -> str:
    if not is_ready:
        return messages.BUSY
    return messages.UNBALANCED if unaccounted else messages.SUCCEEDED


def _status(is_ready: bool, has_problems: bool) -> str:
    if not is_ready:
        return UNREADY
    return DEGRADED if has_problems else READY


def _points(unaccounted: int | None) -> str:
    """Whether the points of all accounts add up."""
    if unaccounted is None:
        return UNKNOWN
    return f"unbalanced by {unaccounted}" if unaccounted else BALANCED


def _table_problems(found: Iterable[CheckpointLag], settings: Settings) -> Iterator[Problem]:
    """Problems of optional tables make the service degraded, those of others unready."""
    optional = {p.schema for p in PROJECTIONS if p.name in settings.readyz_optional_tables}
    for checkpoint in found:
        table, blocking = checkpoint.projection, checkpoint.projection not in optional
        if checkpoint.lag_events < 0 or checkpoint.stopped_by == AHEAD_OF_LOG:
            detail = f"{table} has folded events that the log has lost: run `huajuan rebuild`."
            yield Problem("read_table_ahead", detail, blocking)
        elif checkpoint.stopped_at is not None:
            detail = f"{table} stopped at position {checkpoint.stopped_at}: {checkpoint.stopped_by}."
            yield Problem("read_table_stopped", detail, blocking)
        elif checkpoint.lag_seconds > settings.lag_seconds_max:
            detail = f"{table} is {checkpoint.lag_events} events behind and has not moved for some time."
            yield Problem("read_table_behind", detail, blocking)


async def _checkpoints(tables: ReadTables, projector: Projector) -> list[CheckpointLag] | None:
    """`None` if the database does not answer in time."""
    try:
        async with asyncio.timeout(QUERY_SECONDS_MAX):
            return await checkpoint_lags(tables, projector.projections)
    except (TimeoutError, DatabaseFailure):
        return None
