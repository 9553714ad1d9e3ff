"""Erasing an account: one's own, or by an admin somebody else's."""

from typing import Any
from uuid import UUID

from litestar import Request, delete

from huajuan.auth.tokens import Claims, Me
from huajuan.commands.erase_account import erase_account
from huajuan.commands.last_admin import sparing_last_admin
from huajuan.domain.credentials import spell_name
from huajuan.domain.refusals import LastAdmin, NotRegistered
from huajuan.event_store.after_commit import after_commit
from huajuan.http import messages
from huajuan.http.errors import Answers, Refusal, answering
from huajuan.http.middleware.guards import is_admin
from huajuan.http.openapi.operations import BUSY, NO_TOKEN, Explained, Said, asks, replies
from huajuan.http.query_params import query_of
from huajuan.http.services import AtDesk, Desk
from huajuan.projections.point_balances import POINT_BALANCES
from huajuan.projections.users import USERS

ERASE_ANSWERS: Answers = {
    NotRegistered: Refusal(404, message=messages.USER_UNKNOWN),
    LastAdmin: Refusal(409, message=messages.LAST_ADMIN),
}


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
            200: (
                Said,
                [{"message": text.format(name="czh0")} for text in (messages.ERASED, messages.USER_DELETED)],
            ),
            400: (
                Explained,
                [
                    {"message": messages.NOT_ROOT, "error": messages.NOT_ROOT},
                    {"message": messages.QUERY_UNFIT, "error": messages.WHOM_TO_ERASE},
                ],
            ),
            401: (Said, NO_TOKEN),
            404: (Said, [{"message": messages.USER_UNKNOWN}]),
            409: (Said, [{"message": messages.LAST_ADMIN}]),
            503: (Said, BUSY),
        }
    ),
)
async def erase(request: Request[Any, Any, Any], me: Me, desk: AtDesk) -> Said:
    """Erase an account for good.

    Its pictures, likes and favorites go, its points are forfeited, and its name stays taken. The last admin cannot be
    erased.
    """
    given = query_of(request)
    name = spell_name(given.get("username", me.username))
    if name != me.username:
        return await _erase_another(name, me, desk)
    if given.get("isOwn") != "true":
        raise Refusal(400, message=messages.QUERY_UNFIT, error=messages.WHOM_TO_ERASE)
    await _erase(me.account_id, desk)
    return Said(code=200, message=messages.ERASED.format(name=me.username))


async def _erase_another(name: str, me: Claims, desk: Desk) -> Said:
    """`isOwn` never applies to another's name."""
    if not await is_admin(desk, me):
        raise Refusal(400, message=messages.NOT_ROOT, error=messages.NOT_ROOT)
    await _erase(desk.store.stream_ids.account(name), desk)
    return Said(code=200, message=messages.USER_DELETED.format(name=name))


async def _erase(account_id: UUID, desk: Desk) -> None:
    """Others hear of it from the log; here the tokens are dead before the reply is sent."""
    dsn, seconds_max = desk.settings.database_url, desk.settings.statement_seconds_max
    with answering(ERASE_ANSWERS):
        async with sparing_last_admin(desk.store, dsn, account_id, seconds_max):
            decided = await erase_account(desk.store, desk.erasures, account_id)
    with after_commit("end of sessions"):
        desk.sessions.ended(account_id)
    with after_commit("begin of clearing"):
        desk.erasures.wake()
    await desk.show(decided.position, USERS, POINT_BALANCES)
