"""For those who operate the service: is this process alive, and is it ready."""

import asyncio

from litestar import Response, get

from huajuan.event_store.errors import LogError
from huajuan.http import phrases
from huajuan.http.desk import AtDesk, Desk
from huajuan.http.documented import Said, replies
from huajuan.http.envelope import RETRY_AFTER_SECONDS
from huajuan.projections.checkpoints import Standing, standings

ANSWER_SECONDS_MAX = 2.0
RETRY_LATER = {"Retry-After": RETRY_AFTER_SECONDS}


class ReadyReply(Said, kw_only=True):
    """Whether the database answers, and how far each read table is behind the log."""

    database: bool
    projections: dict[str, Standing]


@get(
    "/healthz",
    tags=["Operations"],
    operation_id="Health",
    responses=replies({200: (Said, [{"message": phrases.WELL}])}),
)
async def healthz() -> Said:
    """This process answers."""
    return Said(code=200, message=phrases.WELL)


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
                [{"message": phrases.WELL, "database": True, "projections": _EXAMPLE_TABLES}],
            ),
            503: (ReadyReply, [{"message": phrases.BUSY, "database": False, "projections": {}}]),
        }
    ),
)
async def readyz(desk: AtDesk) -> Response[ReadyReply]:
    """The database answers, and the read tables follow the log."""
    found = await _standings(desk)
    ready = found is not None and desk.projector.is_alive() and all(_is_moving(s, desk) for s in found)
    status = 200 if ready else 503
    reply = ReadyReply(
        code=status,
        message=phrases.WELL if ready else phrases.BUSY,
        database=found is not None,
        projections={s.projection: s for s in found or ()},
    )
    return Response(reply, status_code=status, headers={} if ready else RETRY_LATER)


def _is_moving(standing: Standing, desk: Desk) -> bool:
    return standing.stopped_at is None and standing.lag_seconds <= desk.settings.lag_seconds_max


async def _standings(desk: Desk) -> list[Standing] | None:
    try:
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            return await standings(desk.tables, [r.projection for r in desk.projector.runners])
    except (TimeoutError, LogError):
        return None
