"""The events of an account as sentences."""

from functools import partial
from typing import Any

import psycopg
from litestar import Request, Response
from litestar.params import FromPath

from huajuan.audit.past import TimelineEvent, read_timeline
from huajuan.http import messages
from huajuan.http.audit_pool import AuditPool
from huajuan.http.errors import UNKNOWN_USER
from huajuan.http.event_messages import LineOnWire, line_of
from huajuan.http.openapi.operations import PAGE_PARAMETERS, invalid_parameters, operation, query_params
from huajuan.http.openapi.responses import MessageResponse
from huajuan.http.query_params import cursor_in, limit_of, query_of
from huajuan.http.routes.admin.as_of import resolve_audited_account
from huajuan.http.routes.points import NO_STORE, POSITION_MAX, PositionCursor
from huajuan.http.urls import next_page
from huajuan.projections.queries import encode_cursor
from huajuan.settings import Settings


class TimelineResponse(MessageResponse, kw_only=True):
    """Events, newest first; a `Link` header leads to older ones."""

    timeline: list[LineOnWire]


_EXAMPLE = {
    "message": messages.SUCCEEDED,
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


@operation(
    "Admin",
    examples=[_EXAMPLE],
    parameters=query_params(**PAGE_PARAMETERS),
    raises=(UNKNOWN_USER, *invalid_parameters("limit", "after")),
)
async def get_timeline(
    request: Request[Any, Any, Any], username: FromPath[str], audit_pool: AuditPool, settings: Settings
) -> Response[TimelineResponse]:
    """All events of an account, newest first. The personal data of an erased account is missing."""
    given = query_of(request)
    limit, before = limit_of(given, settings.list_rows_max), cursor_in(given, PositionCursor, POSITION_MAX)
    found = await audit_pool.run_in_snapshot(partial(_events, username, before, limit + 1))
    headers = dict(NO_STORE)
    if len(found) > limit:
        earlier = encode_cursor(found[limit - 1].position)
        headers |= next_page(request, settings.public_address, given, earlier)
    lines = [line_of(event, settings.public_addresses) for event in found[:limit]]
    return Response(TimelineResponse(code=200, message=messages.SUCCEEDED, timeline=lines), headers=headers)


def _events(name: str, before: int, most: int, connection: psycopg.Connection) -> list[TimelineEvent]:
    return read_timeline(connection, resolve_audited_account(connection, name), before, most)
