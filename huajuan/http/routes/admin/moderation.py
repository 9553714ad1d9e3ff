"""Admins' acts on one account: points given or taken, banning and unbanning."""

from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, post
from litestar.params import FromPath

from huajuan.commands.adjust_points import adjust_points
from huajuan.commands.ban_account import ban_account
from huajuan.commands.last_admin import sparing_last_admin
from huajuan.commands.reset_check_in import reset_check_in
from huajuan.commands.unban_account import unban_account
from huajuan.domain import refusals
from huajuan.domain.points import ADJUSTMENT_MAX
from huajuan.event_store.after_commit import after_commit
from huajuan.http import messages
from huajuan.http.errors import Answers, Refusal, answering
from huajuan.http.openapi.operations import (
    BUSY,
    NO_TOKEN,
    TOO_LARGE,
    Detailed,
    Said,
    document,
    named,
    replies,
    takes,
)
from huajuan.http.reasons import REASON_REFUSALS, Reason, reason_in
from huajuan.http.request_body import Unreadable, malformed, read_form
from huajuan.http.services import AtDesk, Desk
from huajuan.projections.point_balances import POINT_BALANCES


class ReasonForm(msgspec.Struct):
    """Why: it goes on record."""

    reason: Reason = ""


class PointsForm(msgspec.Struct):
    """Points to give, or to take where negative; below zero only if `force` is true."""

    change: Annotated[int, document(minimum=-ADJUSTMENT_MAX, maximum=ADJUSTMENT_MAX)]
    reason: Reason = ""
    force: bool = False


class AdjustedReply(Said, kw_only=True):
    """The balance after the change."""

    score: int


ANSWERS: Answers = {
    Unreadable: malformed(),
    refusals.PointsUnfit: Refusal(400, message=messages.POINTS_UNFIT),
    refusals.NotRegistered: Refusal(404, message=messages.USER_UNKNOWN),
    refusals.NotEnoughPoints: Refusal(409, message=messages.NOT_ENOUGH_POINTS),
    refusals.BalanceOutOfRange: Refusal(409, message=messages.BALANCE_OUT_OF_RANGE),
    refusals.AlreadyBanned: Refusal(409, message=messages.ALREADY_BANNED),
    refusals.NotBanned: Refusal(409, message=messages.NOT_BANNED),
    refusals.LastAdmin: Refusal(409, message=messages.LAST_ADMIN),
}


def replies_to_act(success: Any, bad: tuple[str, ...], *conflicts: str) -> Any:
    conflict: dict[int, Any] = {409: (Said, [{"message": text} for text in conflicts])} if conflicts else {}
    return replies(
        {
            200: success,
            400: (Detailed, [*({"message": text} for text in (messages.MALFORMED, *bad)), *REASON_REFUSALS]),
            401: (Said, NO_TOKEN),
            403: (Said, [{"message": messages.NOT_ADMIN}]),
            404: (Said, [{"message": messages.USER_UNKNOWN}]),
            **conflict,
            413: (Said, TOO_LARGE),
            503: (Said, BUSY),
        }
    )


@post(
    "/admin/users/{username:str}/points",
    tags=["Admin"],
    status_code=200,
    operation_id="AdjustPoints",
    operation_class=named(takes(PointsForm, {"change": 50, "reason": "sorry"}, "reason")),
    responses=replies_to_act(
        (AdjustedReply, [{"message": messages.WELL, "score": 130}]),
        (messages.POINTS_UNFIT,),
        messages.NOT_ENOUGH_POINTS,
        messages.BALANCE_OUT_OF_RANGE,
    ),
)
async def adjust(request: Request[Any, Any, Any], username: FromPath[str], desk: AtDesk) -> AdjustedReply:
    """Give somebody points, or take some, with a reason. Nothing is ever edited: it is a new fact."""
    with answering(ANSWERS):
        form = await read_form(request, PointsForm)
        account_id, reason = _account(desk, username), reason_in(form)
        decided = await adjust_points(desk.store, account_id, form.change, reason, forced=form.force)
    await desk.show(decided.position, POINT_BALANCES)
    return AdjustedReply(code=200, message=messages.WELL, score=decided.aggregates[0].balance)


@post(
    "/admin/users/{username:str}/ban",
    tags=["Admin"],
    status_code=200,
    operation_id="Ban",
    operation_class=named(takes(ReasonForm, {"reason": "spam"}, "reason")),
    responses=replies_to_act(
        (Said, [{"message": messages.WELL}]), (), messages.ALREADY_BANNED, messages.LAST_ADMIN
    ),
)
async def ban(request: Request[Any, Any, Any], username: FromPath[str], desk: AtDesk) -> Said:
    """Ban somebody. Their tokens are dead, and nobody logs in to the account. The last admin cannot be banned."""
    with answering(ANSWERS):
        form = await read_form(request, ReasonForm)
        account_id, seconds_max = _account(desk, username), desk.settings.statement_seconds_max
        async with sparing_last_admin(desk.store, desk.settings.database_url, account_id, seconds_max):
            await ban_account(desk.store, account_id, reason_in(form))
    # Others hear of it from the log; here the tokens are dead before the reply is sent.
    with after_commit("end of sessions"):
        desk.sessions.ended(account_id)
    return Said(code=200, message=messages.WELL)


@post(
    "/admin/users/{username:str}/unban",
    tags=["Admin"],
    status_code=200,
    operation_id="Unban",
    operation_class=named(takes(ReasonForm, {"reason": "forgiven"}, "reason")),
    responses=replies_to_act((Said, [{"message": messages.WELL}]), (), messages.NOT_BANNED),
)
async def unban(request: Request[Any, Any, Any], username: FromPath[str], desk: AtDesk) -> Said:
    """Take a ban back."""
    with answering(ANSWERS):
        form = await read_form(request, ReasonForm)
        await unban_account(desk.store, _account(desk, username), reason_in(form))
    return Said(code=200, message=messages.WELL)


@post(
    "/admin/users/{username:str}/check-in/reset",
    tags=["Admin"],
    status_code=200,
    operation_id="ResetCheckIn",
    operation_class=named(takes(ReasonForm, {"reason": "the clock was wrong"}, "reason")),
    responses=replies_to_act((Said, [{"message": messages.WELL}]), ()),
)
async def reset_check(request: Request[Any, Any, Any], username: FromPath[str], desk: AtDesk) -> Said:
    """Let somebody check in today, whatever day their last check-in was for. Points stay as they are."""
    with answering(ANSWERS):
        form = await read_form(request, ReasonForm)
        await reset_check_in(desk.store, _account(desk, username), reason_in(form))
    return Said(code=200, message=messages.WELL)


def _account(desk: Desk, name: str) -> UUID:
    return desk.store.stream_ids.account(name)
