"""Checking in for points."""

from litestar import Response, route

from huajuan.commands.check_in import check_in
from huajuan.domain.refusals import AlreadyCheckedIn, BalanceOutOfRange, NotRegistered
from huajuan.event_store.errors import LogUnavailable
from huajuan.http import phrases
from huajuan.http.desk import AtDesk
from huajuan.http.documented import BUSY, NO_TOKEN_TRIED, Said, Tried, replies
from huajuan.http.envelope import Answers, Refusal, answering
from huajuan.http.guards import BESIDE_TOKEN_REFUSAL
from huajuan.http.idempotency import WRITES
from huajuan.http.tokens import Me
from huajuan.projections.point_balances import POINT_BALANCES
from huajuan.projections.point_history import POINT_HISTORY

NO_STORE = {"Cache-Control": "no-store"}


class ScoreReply(Tried, kw_only=True):
    """What the account now has."""

    score: int


SCORE_ANSWERS: Answers = {
    BalanceOutOfRange: Refusal(401, NO_STORE, success=False, message=phrases.BALANCE_OUT_OF_RANGE),
    NotRegistered: Refusal(401, NO_STORE, success=False, message=phrases.ACCOUNT_QUERY_FAILED),
    LogUnavailable: Refusal(401, NO_STORE, success=False, message=phrases.POINTS_NOT_RECORDED),
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
                [{"success": True, "message": phrases.CHECKED_IN.format(score=100), "score": 100}],
            ),
            400: (ScoreReply, [{"success": False, "message": phrases.ALREADY_CHECKED_IN, "score": 100}]),
            401: (
                Tried,
                [
                    *NO_TOKEN_TRIED,
                    {"success": False, "message": phrases.ACCOUNT_QUERY_FAILED},
                    {"success": False, "message": phrases.POINTS_NOT_RECORDED},
                    {"success": False, "message": phrases.BALANCE_OUT_OF_RANGE},
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
            400, NO_STORE, success=False, message=phrases.ALREADY_CHECKED_IN, score=refusal.balance
        ) from None
    balance: int = decided.aggregates[0].balance
    await desk.show(decided.position, POINT_BALANCES, POINT_HISTORY)
    message = phrases.CHECKED_IN.format(score=balance)
    reply = ScoreReply(code=200, success=True, message=message, score=balance)
    return Response(reply, headers=NO_STORE)
