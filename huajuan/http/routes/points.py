"""One's own points: how many, and the line for each change of them, as JSON or as CSV."""

from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get

from huajuan.auth.tokens import Me
from huajuan.event_store.encryption import ERASED
from huajuan.http import messages
from huajuan.http.csv_replies import FORMAT, csv_reply, format_of, may_be_csv
from huajuan.http.errors import Answers, answering
from huajuan.http.links import next_page
from huajuan.http.openapi.operations import BUSY, NO_TOKEN, Explained, Said, asks, replies
from huajuan.http.query_params import limit_of, query_of, unfit
from huajuan.http.routes.check_in import NO_STORE
from huajuan.http.serializers import EXAMPLE_PICTURE, Address, Moment, picture_address, wire_time
from huajuan.http.services import AtDesk
from huajuan.projections.point_balances import points_of
from huajuan.projections.point_history import Change, HoldStatus, changes_of
from huajuan.projections.queries.cursors import BadCursor, cursor_at, place_of

LAST_PLACE = 2**63 - 1
Place = Annotated[int, msgspec.Meta(ge=1, le=LAST_PLACE)]


class PointsReply(Said, kw_only=True):
    """What the account has, and what is held for pictures being drawn."""

    score: int
    held: int


class ChangeOnWire(msgspec.Struct):
    """One change: `image_id` and `picture` where one was drawn, `actor` where somebody else made the change.

    For a change that concerns a picture, `generation_id` is its job, and `status` the state of its points now.
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


class PointHistoryReply(Said, kw_only=True):
    """Changes, newest first; a `Link` header leads to older ones."""

    history: list[ChangeOnWire]


HISTORY_ANSWERS: Answers = {BadCursor: unfit("after")}
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
_ASKED = asks(
    limit="how many at most",
    after="where the `Link` of the page before leads",
    format=FORMAT,
)


@get(
    "/auth/points",
    tags=["Points"],
    operation_id="GetPoints",
    responses=replies(
        {
            200: (PointsReply, [{"message": messages.WELL, "score": 80, "held": 20}]),
            401: (Said, NO_TOKEN),
            503: (Said, BUSY),
        }
    ),
)
async def own_points(me: Me, desk: AtDesk) -> Response[PointsReply]:
    """How many points one has, and how many are held for pictures being drawn."""
    points = await points_of(desk.tables, me.account_id)
    reply = PointsReply(code=200, message=messages.WELL, score=points.score, held=points.held)
    return Response(reply, headers=NO_STORE)


@get(
    "/auth/points/history",
    tags=["Points"],
    operation_id="ListPointHistory",
    operation_class=may_be_csv(_ASKED, EXAMPLE_HISTORY[0]),
    responses=replies(
        {
            200: (PointHistoryReply, [{"message": messages.WELL, "history": EXAMPLE_HISTORY}]),
            400: (
                Explained,
                [{"message": messages.QUERY_UNFIT, "error": name} for name in ("limit", "format")],
            ),
            401: (Said, NO_TOKEN),
            503: (Said, BUSY),
        }
    ),
)
async def own_point_history(request: Request[Any, Any, Any], me: Me, desk: AtDesk) -> Response[Any]:
    """Every change of one's points and its cause, newest first."""
    given = query_of(request)
    format_ = format_of(request, given)
    limit, address = limit_of(given, desk.settings.list_rows_max), desk.settings.public_address
    with answering(HISTORY_ANSWERS):
        before = place_of(given["after"], Place) if "after" in given else LAST_PLACE
    found = await changes_of(desk.tables, desk.streams, me.account_id, before, limit + 1)
    headers = dict(NO_STORE) | {"Vary": "Accept"}
    if len(found) > limit:
        headers |= next_page(request, address, given, cursor_at(found[limit - 1].id))
    history = [_change_on_wire(change, address) for change in found[:limit]]
    if format_ != "json":
        return csv_reply(format_, ChangeOnWire, history, headers)
    return Response(PointHistoryReply(code=200, message=messages.WELL, history=history), headers=headers)


def _change_on_wire(change: Change, address: str) -> ChangeOnWire:
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
