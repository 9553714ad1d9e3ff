"""For those who operate the service: is this process alive, and is it ready."""

import asyncio
from collections.abc import Iterable, Iterator

from litestar import Response, get

from huajuan.event_store.errors import LogError
from huajuan.http import messages
from huajuan.http.errors import RETRY_AFTER_SECONDS
from huajuan.http.openapi.operations import Said, replies
from huajuan.http.services import AtDesk, Desk
from huajuan.observability.health import Problem
from huajuan.projections.engine.checkpoint_lock import AHEAD_OF_LOG
from huajuan.projections.engine.checkpoints import Standing, standings
from huajuan.projections.registry import PROJECTIONS
from huajuan.settings import Settings

ANSWER_SECONDS_MAX = 2.0
BALANCED, UNKNOWN = "balanced", "unknown"
READY, DEGRADED, UNREADY = "ready", "degraded", "unready"
RETRY_LATER = {"Retry-After": RETRY_AFTER_SECONDS}


class ReadyReply(Said, kw_only=True):
    """Whether the database answers, all points are accounted for, and how far each read table is behind the log.

    `status` is `ready`, `degraded` (200: something is wrong, requests are served) or `unready` (503).
    `drawing` is false while no inference server answers, which is a problem after some seconds.
    """

    status: str
    database: bool
    points: str
    drawing: bool
    problems: list[Problem]
    projections: dict[str, Standing]


@get(
    "/healthz",
    tags=["Operations"],
    operation_id="Health",
    responses=replies({200: (Said, [{"message": messages.WELL}])}),
)
async def healthz() -> Said:
    """This process answers."""
    return Said(code=200, message=messages.WELL)


_EXAMPLES_OF_POINTS = (
    (messages.WELL, READY, BALANCED),
    (messages.UNBALANCED, DEGRADED, "unbalanced by 20"),
)
_EXAMPLE_TABLES = {
    "users_v1": {
        "projection": "users_v1",
        "position": 9,
        "lag_events": 0,
        "lag_seconds": 0.0,
        "stopped_at": None,
        "stopped_by": None,
    }
}


@get(
    "/readyz",
    tags=["Operations"],
    operation_id="Readiness",
    responses=replies(
        {
            200: (
                ReadyReply,
                [
                    {
                        "message": said,
                        "status": state,
                        "database": True,
                        "points": points,
                        "drawing": True,
                        "problems": [],
                        "projections": _EXAMPLE_TABLES,
                    }
                    for said, state, points in _EXAMPLES_OF_POINTS
                ],
            ),
            503: (
                ReadyReply,
                [
                    {
                        "message": messages.BUSY,
                        "status": UNREADY,
                        "database": False,
                        "points": UNKNOWN,
                        "drawing": False,
                        "problems": [],
                        "projections": {},
                    }
                ],
            ),
        }
    ),
)
async def readyz(desk: AtDesk) -> Response[ReadyReply]:
    """The database answers, and the read tables follow the log. Points that went astray show, and stop nothing."""
    found, unaccounted = await _standings(desk), desk.points_audit.unaccounted
    problems = [*desk.health.problems(), *_table_problems(found or (), desk.settings)]
    alive = found is not None and desk.projector.is_alive()
    ready = alive and not any(problem.blocking for problem in problems)
    status = 200 if ready else 503
    reply = ReadyReply(
        code=status,
        message=_message(ready, unaccounted),
        status=_status(ready, bool(problems or unaccounted)),
        database=found is not None,
        points=_points(unaccounted),
        drawing=len(desk.room.painters) > 0,
        problems=problems,
        projections={s.projection: s for s in found or ()},
    )
    return Response(reply, status_code=status, headers={} if ready else RETRY_LATER)


def _message(ready: bool, unaccounted: int | None) -> str:
    if not ready:
        return messages.BUSY
    return messages.UNBALANCED if unaccounted else messages.WELL


def _status(ready: bool, impaired: bool) -> str:
    if not ready:
        return UNREADY
    return DEGRADED if impaired else READY


def _points(unaccounted: int | None) -> str:
    """By how many it is off, all accounts together."""
    if unaccounted is None:
        return UNKNOWN
    return f"unbalanced by {unaccounted}" if unaccounted else BALANCED


def _table_problems(found: Iterable[Standing], settings: Settings) -> Iterator[Problem]:
    """A table that replies can do without makes the service degraded, any other one makes it unready."""
    optional = {p.schema for p in PROJECTIONS if p.name in settings.readyz_optional_tables}
    for standing in found:
        table, blocking = standing.projection, standing.projection not in optional
        if standing.lag_events < 0 or standing.stopped_by == AHEAD_OF_LOG:
            detail = f"{table} has folded events that the log has lost: run `huajuan rebuild`."
            yield Problem("read_table_ahead", detail, blocking)
        elif standing.stopped_at is not None:
            detail = f"{table} stopped at position {standing.stopped_at}: {standing.stopped_by}."
            yield Problem("read_table_stopped", detail, blocking)
        elif standing.lag_seconds > settings.lag_seconds_max:
            detail = f"{table} is {standing.lag_events} events behind and has not moved for some time."
            yield Problem("read_table_behind", detail, blocking)


async def _standings(desk: Desk) -> list[Standing] | None:
    try:
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            return await standings(desk.tables, desk.projector.projections)
    except (TimeoutError, LogError):
        return None
