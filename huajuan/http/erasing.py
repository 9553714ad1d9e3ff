"""Erasing an account: one's own, or by an admin somebody else's."""

from typing import Any

from litestar import Request, delete

from huajuan.commands.erase_account import erase_account
from huajuan.domain.refusals import NotRegistered
from huajuan.http import phrases
from huajuan.http.desk import AtDesk, Desk
from huajuan.http.documented import BUSY, NO_TOKEN, Explained, Said, asks, replies
from huajuan.http.envelope import Answers, Refusal, answering
from huajuan.http.queries import query_of
from huajuan.http.tokens import Claims, Me
from huajuan.projections.point_balances import POINT_BALANCES
from huajuan.projections.users import USERS

ERASE_ANSWERS: Answers = {NotRegistered: Refusal(404, message=phrases.USER_UNKNOWN)}


@delete(
    "/auth/root/deleteOneUser",
    tags=["Account"],
    status_code=200,
    operation_id="EraseAccount",
    operation_class=asks(
        isOwn="`true` erases one's own account, for good",
        username="whose account to erase; anybody's but one's own takes an admin",
    ),
    responses=replies(
        {
            200: (Said, [{"message": phrases.ERASED.format(name="czh0")}]),
            400: (
                Explained,
                [
                    {"message": phrases.NOT_ROOT, "error": phrases.NOT_ROOT},
                    {"message": phrases.QUERY_UNFIT, "error": phrases.WHOM_TO_ERASE},
                ],
            ),
            401: (Said, NO_TOKEN),
            404: (Said, [{"message": phrases.USER_UNKNOWN}]),
            503: (Said, BUSY),
        }
    ),
)
async def erase(request: Request[Any, Any, Any], me: Me, desk: AtDesk) -> Said:
    """Erase an account for good.

    Its pictures, likes and favorites go, its points are forfeited, and its name stays taken.
    """
    _check_own(query_of(request), me)
    with answering(ERASE_ANSWERS):
        decided = await erase_account(desk.store, desk.erasures, me.account_id)
    await _make_known(desk, me, decided.position)
    return Said(code=200, message=phrases.ERASED.format(name=me.username))


def _check_own(given: dict[str, str], me: Claims) -> None:
    """`isOwn` never applies to another's name."""
    if given.get("username", me.username) != me.username:
        raise Refusal(400, message=phrases.NOT_ROOT, error=phrases.NOT_ROOT)
    if given.get("isOwn") != "true":
        raise Refusal(400, message=phrases.QUERY_UNFIT, error=phrases.WHOM_TO_ERASE)


async def _make_known(desk: Desk, erased: Claims, position: int) -> None:
    """Others hear of it from the log; here the tokens are dead before the reply is sent."""
    desk.sessions.hear(str(erased.account_id))
    desk.erasures.wake()
    await desk.show(position, USERS, POINT_BALANCES)
