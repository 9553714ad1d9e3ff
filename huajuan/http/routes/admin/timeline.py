"""Everything that happened to one account, in sentences."""

from functools import partial
from typing import Any

import psycopg
from litestar import Request, Response, get
from litestar.params import FromPath

from huajuan.audit.timeline import Happening, happenings
from huajuan.http import messages
from huajuan.http.links import next_page
from huajuan.http.openapi.operations import Said, asks_of_path
from huajuan.http.query_params import limit_of, query_of
from huajuan.http.routes.admin.as_of import audit_replies, audited, place_in
from huajuan.http.routes.check_in import NO_STORE
from huajuan.http.routes.points import LAST_PLACE, Place
from huajuan.http.services import AtDesk
from huajuan.http.timeline_lines import LineOnWire, line_of
from huajuan.projections.queries.cursors import cursor_at


class TimelineReply(Said, kw_only=True):
    """What happened, newest first; a `Link` header leads to what was before."""

    timeline: list[LineOnWire]


_EXAMPLE = {
    "message": messages.WELL,
    "timeline": [
        {
            "position": 4713,
            "time": "2024-11-21T23:31:25.924231Z",
            "event": "image.drawn",
            "zh": messages.EXAMPLE_LINE,
            "en": "image #4713 was drawn",
            "actor": None,
            "image": "5f0c6a1e-9d6b-4d0f-8a3c-2b1e7d9f4a60",
            "image_id": 4713,
            "correlation_id": "8d1f",
            "generation_id": 4712,
        }
    ],
}


@get(
    "/admin/users/{username:str}/timeline",
    tags=["Admin"],
    operation_id="GetTimeline",
    operation_class=asks_of_path(
        limit="how many lines at most", after="where the `Link` of the page before leads"
    ),
    responses=audit_replies((TimelineReply, [_EXAMPLE]), "limit", "after"),
)
async def timeline(
    request: Request[Any, Any, Any], username: FromPath[str], desk: AtDesk
) -> Response[TimelineReply]:
    """Everything that happened to an account, newest first. Of an erased person, what the log still tells."""
    given, settings = query_of(request), desk.settings
    limit, before = limit_of(given, settings.list_rows_max), place_in(given, Place, LAST_PLACE)
    found = await desk.auditors.ask(partial(_happenings, username, before, limit + 1))
    headers = dict(NO_STORE)
    if len(found) > limit:
        earlier = cursor_at(found[limit - 1].position)
        headers |= next_page(request, settings.public_address, given, earlier)
    lines = [line_of(happened, settings.public_addresses) for happened in found[:limit]]
    return Response(TimelineReply(code=200, message=messages.WELL, timeline=lines), headers=headers)


def _happenings(name: str, before: int, most: int, connection: psycopg.Connection) -> list[Happening]:
    return happenings(connection, audited(connection, name), before, most)
