"""Checking in for points, one's own points, and the history of their changes as JSON or CSV."""

from typing import Annotated, Any

import msgspec
from litestar import Request, Response

from huajuan.auth.sessions import Claims
from huajuan.commands.check_in import check_in
from huajuan.domain.refusals import AlreadyCheckedIn, BalanceOutOfRange, NotRegistered
from huajuan.event_store.errors import DatabaseUnavailable
from huajuan.event_store.log_reader import StreamReader
from huajuan.event_store.personal_keys import ERASED
from huajuan.event_store.store import EventStore
from huajuan.http import messages
from huajuan.http.content_negotiation import csv_response, format_of
from huajuan.http.errors import ApiError, result_error
from huajuan.http.openapi.operations import (
    FORMAT,
    PAGE_PARAMETERS,
    csv_content,
    invalid_parameters,
    operation,
    query_params,
)
from huajuan.http.openapi.responses import MessageResponse, ResultResponse
from huajuan.http.request import cursor_in, limit_of, query_of
from huajuan.http.serializers import EXAMPLE_PICTURE, Address, Moment, picture_address, wire_time
from huajuan.http.services import ReadYourWrites
from huajuan.http.urls import next_page
from huajuan.projections.engine.table import ReadTables
from huajuan.projections.point_balances import POINT_BALANCES, points_of
from huajuan.projections.point_history import POINT_HISTORY
from huajuan.projections.queries import encode_cursor
from huajuan.projections.queries.points import HoldStatus, PointChange, point_changes_of
from huajuan.settings import Settings

NO_STORE = {"Cache-Control": "no-store"}
POSITION_MAX = 2**63 - 1
PositionCursor = Annotated[int, msgspec.Meta(ge=1, le=POSITION_MAX)]


class ScoreResponse(ResultResponse, kw_only=True):
    """The balance of the account."""

    score: int


class PointsResponse(MessageResponse, kw_only=True):
    """The available points, and those held for pictures being drawn."""

    score: int
    held: int


class ChangeOnWire(msgspec.Struct):
    """One change: `image_id` and `picture` if one was drawn, `actor` if another account made the change.

    `generation_id` is the job of the picture concerned, and `status` the present state of its points.
    """

    time: Moment
    change: int
    balance: int
    reason: str
    image_id: int | None
    picture: Address | None
    actor: str | None
    status: HoldStatus | None
    generation_id: int | None


class PointHistoryResponse(MessageResponse, kw_only=True):
    """Changes, newest first; a `Link` header leads to older ones."""

    history: list[ChangeOnWire]


ALREADY_CHECKED_IN = ApiError(400, NO_STORE, success=False, message=messages.ALREADY_CHECKED_IN, score=100)
EXAMPLE_HISTORY = [
    {
        "time": "2024-11-21T23:31:05.1Z",
        "change": -20,
        "balance": 80,
        "reason": "held",
        "image_id": 9,
        "picture": EXAMPLE_PICTURE,
        "actor": None,
        "status": "settled",
        "generation_id": 8,
    },
    {
        "time": "2024-11-21T23:30:00Z",
        "change": 100,
        "balance": 100,
        "reason": "check_in",
        "image_id": None,
        "picture": None,
        "actor": None,
        "status": None,
        "generation_id": None,
    },
]


@operation(
    "Points",
    examples=[{"success": True, "message": messages.CHECKED_IN.format(score=100), "score": 100}],
    errors={
        NotRegistered: result_error(401, messages.ACCOUNT_QUERY_FAILED, NO_STORE),
        DatabaseUnavailable: result_error(401, messages.POINTS_NOT_RECORDED, NO_STORE),
        BalanceOutOfRange: result_error(401, messages.BALANCE_OUT_OF_RANGE, NO_STORE),
    },
    raises=(ALREADY_CHECKED_IN,),
    token_error=lambda text: result_error(401, text),
    is_writing_get=True,
)
async def score(
    claims: Claims, store: EventStore, settings: Settings, read_your_writes: ReadYourWrites
) -> Response[ScoreResponse]:
    """Check in: 100 points, as a rule once a day."""
    once_a_day = settings.check_in_limit == "daily"
    try:
        decided = await check_in(store, claims.account_id, settings.zone, once_a_day=once_a_day)
    except AlreadyCheckedIn as refused:
        raise ALREADY_CHECKED_IN.replace(score=refused.balance) from None
    balance: int = decided.aggregates[0].balance
    await read_your_writes.wait_for(decided.position, POINT_BALANCES, POINT_HISTORY)
    message = messages.CHECKED_IN.format(score=balance)
    reply = ScoreResponse(code=200, success=True, message=message, score=balance)
    return Response(reply, headers=NO_STORE)


@operation("Points", examples=[{"message": messages.SUCCEEDED, "score": 80, "held": 20}])
async def get_points(claims: Claims, tables: ReadTables) -> Response[PointsResponse]:
    """One's available points, and those held for pictures being drawn."""
    points = await points_of(tables, claims.account_id)
    reply = PointsResponse(code=200, message=messages.SUCCEEDED, score=points.score, held=points.held)
    return Response(reply, headers=NO_STORE)


@operation(
    "Points",
    success={200: (PointHistoryResponse, [{"message": messages.SUCCEEDED, "history": EXAMPLE_HISTORY}])},
    content=csv_content(EXAMPLE_HISTORY[0]),
    parameters=query_params(**PAGE_PARAMETERS, format=FORMAT),
    raises=invalid_parameters("limit", "after", "format"),
)
async def list_point_history(
    request: Request[Any, Any, Any],
    claims: Claims,
    tables: ReadTables,
    streams: StreamReader,
    settings: Settings,
) -> Response[Any]:
    """The changes of one's points and their causes, newest first."""
    given = query_of(request)
    format_ = format_of(request, given)
    limit, address = limit_of(given, settings.list_rows_max), settings.public_address
    before = cursor_in(given, PositionCursor, POSITION_MAX)
    found = await point_changes_of(tables, streams, claims.account_id, before, limit + 1)
    headers = dict(NO_STORE) | {"Vary": "Accept"}
    if len(found) > limit:
        headers |= next_page(request, address, given, encode_cursor(found[limit - 1].id))
    history = [_change_on_wire(change, address) for change in found[:limit]]
    if format_ != "json":
        return csv_response(format_, ChangeOnWire, history, headers)
    return Response(
        PointHistoryResponse(code=200, message=messages.SUCCEEDED, history=history), headers=headers
    )


def _change_on_wire(change: PointChange, address: str) -> ChangeOnWire:
    return ChangeOnWire(
        wire_time(change.time),
        change.change,
        change.balance,
        change.reason or ERASED,
        change.image_id,
        change.picture and picture_address(address, change.picture),
        change.actor,
        change.status,
        change.generation_id,
    )
