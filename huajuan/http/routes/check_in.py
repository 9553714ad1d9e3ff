"""Checking in for points."""

from litestar import Response, route

from huajuan.auth.tokens import Me
from huajuan.commands.check_in import check_in
from huajuan.domain.refusals import AlreadyCheckedIn, BalanceOutOfRange, NotRegistered
from huajuan.event_store.errors import LogUnavailable
from huajuan.http import messages
from huajuan.http.errors import Answers, Refusal, answering
from huajuan.http.middleware.guards import BESIDE_TOKEN_REFUSAL
from huajuan.http.middleware.idempotency import WRITES
from huajuan.http.openapi.operations import BUSY, NO_TOKEN_TRIED, Said, Tried, replies
from huajuan.http.services import AtDesk
from huajuan.projections.point_balances import POINT_BALANCES
from huajuan.projections.point_history import POINT_HISTORY

NO_STORE = {"Cache-Control": "no-store"}


class ScoreReply(Tried, kw_only=True):
    """What the account now has."""

    score: int


SCORE_ANSWERS: Answers = {
    BalanceOutOfRange: Refusal(401, NO_STORE, success=False, message=messages.BALANCE_OUT_OF_RANGE),
    NotRegistered: Refusal(401, NO_STORE, success=False, message=messages.ACCOUNT_QUERY_FAILED),
    LogUnavailable: Refusal(401, NO_STORE, success=False, message=messages.POINTS_NOT_RECORDED),
}


@route(
    "/auth/score",
    tags=["Points"],
    http_method=["GET", "POST"],
    status_code=200,
    opt={BESIDE_TOKEN_REFUSAL: {"success": False}, WRITES: True},
    responses=replies(
        {
            200: (
                ScoreReply,
                [{"success": True, "message": messages.CHECKED_IN.format(score=100), "score": 100}],
            ),
            400: (ScoreReply, [{"success": False, "message": messages.ALREADY_CHECKED_IN, "score": 100}]),
            401: (
                Tried,
                [
                    *NO_TOKEN_TRIED,
                    {"success": False, "message": messages.ACCOUNT_QUERY_FAILED},
                    {"success": False, "message": messages.POINTS_NOT_RECORDED},
                    {"success": False, "message": messages.BALANCE_OUT_OF_RANGE},
                ],
            ),
            503: (Said, BUSY),
        }
    ),
)
async def score(me: Me, desk: AtDesk) -> Response[ScoreReply]:
    """Check in: 100 points, as a rule once a day."""
    once_a_day = desk.settings.check_in_limit == "daily"
    try:
        with answering(SCORE_ANSWERS):
            decided = await check_in(desk.store, me.account_id, desk.settings.zone, once_a_day=once_a_day)
    except AlreadyCheckedIn as refusal:
        raise Refusal(
            400, NO_STORE, success=False, message=messages.ALREADY_CHECKED_IN, score=refusal.balance
        ) from None
    balance: int = decided.aggregates[0].balance
    await desk.show(decided.position, POINT_BALANCES, POINT_HISTORY)
    message = messages.CHECKED_IN.format(score=balance)
    reply = ScoreReply(code=200, success=True, message=message, score=balance)
    return Response(reply, headers=NO_STORE)
