"""Admin actions on one account: points, bans, check-in reset, approval and rejection of registrations."""

from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, Response
from litestar.params import FromPath

from huajuan.auth.sessions import Sessions
from huajuan.commands.erase_account import reject_account
from huajuan.commands.moderation import adjust_points as adjust
from huajuan.commands.moderation import approve_account, ban_account, protecting_last_admin, unban_account
from huajuan.commands.moderation import reset_check_in as reset
from huajuan.domain import refusals
from huajuan.domain.rules import ADJUSTMENT_MAX
from huajuan.event_store.store import EventStore, after_commit
from huajuan.http import messages
from huajuan.http.errors import UNKNOWN_USER, ApiError, ErrorTable
from huajuan.http.openapi.operations import (
    PAGE_PARAMETERS,
    RequestBodySpec,
    invalid_parameters,
    json_body,
    operation,
    query_params,
)
from huajuan.http.openapi.responses import MessageResponse
from huajuan.http.request import (
    Reason,
    ReasonForm,
    after_id,
    limit_of,
    query_of,
    read_form,
    reason_in,
    schema_keys,
)
from huajuan.http.routes.accounts import LAST_ADMIN
from huajuan.http.routes.points import NO_STORE
from huajuan.http.serializers import Moment, wire_time
from huajuan.http.services import ReadYourWrites
from huajuan.http.urls import next_page
from huajuan.projections.engine.table import ReadTables
from huajuan.projections.pending_accounts import PENDING_ACCOUNTS
from huajuan.projections.point_balances import POINT_BALANCES
from huajuan.projections.queries.accounts import PendingUser
from huajuan.projections.queries.accounts import list_pending_users as select_pending_users
from huajuan.projections.users import USERS
from huajuan.settings import Settings
from huajuan.storage.deletions import Erasures


class PointsForm(msgspec.Struct):
    """Points to give, or to take if negative; below zero only if `force` is true."""

    change: Annotated[int, schema_keys(minimum=-ADJUSTMENT_MAX, maximum=ADJUSTMENT_MAX)]
    reason: Reason = ""
    force: bool = False


class AdjustedResponse(MessageResponse, kw_only=True):
    """The balance after the change."""

    score: int


class PendingUserOnWire(msgspec.Struct):
    """An account that waits for approval; `create_time` is when it was registered."""

    id: int
    username: str
    email: str
    create_time: Moment


class PendingUsersResponse(MessageResponse, kw_only=True):
    """The accounts that wait, the longest waiting first; a `Link` header leads to more."""

    users: list[PendingUserOnWire]


DONE = [{"message": messages.SUCCEEDED}]
NOT_REGISTERED: ErrorTable = {refusals.NotRegistered: UNKNOWN_USER}
APPROVAL_ERRORS: ErrorTable = {
    **NOT_REGISTERED,
    refusals.NotPending: ApiError(409, message=messages.NOT_PENDING),
}
EXAMPLE_PENDING = {
    "id": 7, "username": "czh0", "email": "3@qq.com", "create_time": "2024-11-21T23:31:25.924231Z",
}  # fmt: skip


def _reason_body(example: str) -> RequestBodySpec:
    return json_body(ReasonForm, {"reason": example}, "reason")


@operation(
    "Admin",
    examples=[{"message": messages.SUCCEEDED, "score": 130}],
    body=json_body(PointsForm, {"change": 50, "reason": "sorry"}, "reason"),
    errors={
        **NOT_REGISTERED,
        refusals.PointsInvalid: ApiError(400, message=messages.POINTS_INVALID),
        refusals.NotEnoughPoints: ApiError(409, message=messages.NOT_ENOUGH_POINTS),
        refusals.BalanceOutOfRange: ApiError(409, message=messages.BALANCE_OUT_OF_RANGE),
    },
)
async def adjust_points(
    request: Request[Any, Any, Any],
    username: FromPath[str],
    store: EventStore,
    read_your_writes: ReadYourWrites,
) -> AdjustedResponse:
    """Give or take points, with a reason. The log gets a new event; nothing is edited."""
    form = await read_form(request, PointsForm)
    account_id, reason = store.stream_ids.account(username), reason_in(form)
    decided = await adjust(store, account_id, form.change, reason, forced=form.force)
    await read_your_writes.wait_for(decided.position, POINT_BALANCES)
    return AdjustedResponse(code=200, message=messages.SUCCEEDED, score=decided.aggregates[0].balance)


@operation(
    "Admin",
    examples=DONE,
    body=_reason_body("spam"),
    errors={
        **NOT_REGISTERED,
        refusals.AlreadyBanned: ApiError(409, message=messages.ALREADY_BANNED),
        refusals.LastAdmin: LAST_ADMIN,
    },
)
async def ban(
    request: Request[Any, Any, Any],
    username: FromPath[str],
    store: EventStore,
    sessions: Sessions,
    settings: Settings,
) -> MessageResponse:
    """Ban an account. Its tokens end, and it cannot log in. The last admin cannot be banned."""
    form = await read_form(request, ReasonForm)
    account_id, seconds_max = store.stream_ids.account(username), settings.statement_seconds_max
    async with protecting_last_admin(store, settings.database_url, account_id, seconds_max):
        await ban_account(store, account_id, reason_in(form))
    # Other processes read this from the log; here the tokens end before the response is sent.
    with after_commit("end of sessions"):
        sessions.ended(account_id)
    return MessageResponse(code=200, message=messages.SUCCEEDED)


@operation(
    "Admin",
    examples=DONE,
    body=_reason_body("forgiven"),
    errors={**NOT_REGISTERED, refusals.NotBanned: ApiError(409, message=messages.NOT_BANNED)},
)
async def unban(
    request: Request[Any, Any, Any], username: FromPath[str], store: EventStore
) -> MessageResponse:
    """Lift a ban."""
    form = await read_form(request, ReasonForm)
    await unban_account(store, store.stream_ids.account(username), reason_in(form))
    return MessageResponse(code=200, message=messages.SUCCEEDED)


@operation("Admin", examples=DONE, body=_reason_body("the clock was wrong"), errors=NOT_REGISTERED)
async def reset_check_in(
    request: Request[Any, Any, Any], username: FromPath[str], store: EventStore
) -> MessageResponse:
    """Allow a check-in today, whatever day the last check-in was for. Points do not change."""
    form = await read_form(request, ReasonForm)
    await reset(store, store.stream_ids.account(username), reason_in(form))
    return MessageResponse(code=200, message=messages.SUCCEEDED)


@operation(
    "Admin",
    examples=[{"message": messages.SUCCEEDED, "users": [EXAMPLE_PENDING]}],
    parameters=query_params(**PAGE_PARAMETERS),
    raises=invalid_parameters("limit", "after"),
)
async def list_pending_users(
    request: Request[Any, Any, Any], tables: ReadTables, settings: Settings
) -> Response[PendingUsersResponse]:
    """The accounts that wait for approval."""
    given = query_of(request)
    limit = limit_of(given, settings.list_rows_max)
    found = await select_pending_users(tables, limit + 1, after_id(given))
    page, headers = found[:limit], dict(NO_STORE)
    if len(found) > limit:
        headers |= next_page(request, settings.public_address, given, str(page[-1].id))
    reply = PendingUsersResponse(
        code=200, message=messages.SUCCEEDED, users=[_pending(user) for user in page]
    )
    return Response(reply, headers=headers)


@operation("Admin", examples=DONE, body=_reason_body("a colleague"), errors=APPROVAL_ERRORS)
async def approve(
    request: Request[Any, Any, Any],
    username: FromPath[str],
    store: EventStore,
    read_your_writes: ReadYourWrites,
) -> MessageResponse:
    """Approve an account that waits. It can log in from now on, and gets the welcome points."""
    form = await read_form(request, ReasonForm)
    decided = await approve_account(store, store.stream_ids.account(username), reason_in(form))
    await read_your_writes.wait_for(decided.position, PENDING_ACCOUNTS, POINT_BALANCES)
    return MessageResponse(code=200, message=messages.SUCCEEDED)


@operation("Admin", examples=DONE, body=_reason_body("spam"), errors=APPROVAL_ERRORS)
async def reject(
    request: Request[Any, Any, Any],
    username: FromPath[str],
    store: EventStore,
    erasures: Erasures,
    sessions: Sessions,
    read_your_writes: ReadYourWrites,
) -> MessageResponse:
    """Reject an account that waits.

    It is erased: its e-mail address is free again, and its name stays taken.
    """
    form = await read_form(request, ReasonForm)
    account_id: UUID = store.stream_ids.account(username)
    decided = await reject_account(store, erasures, account_id, reason_in(form))
    sessions.ended(account_id)
    erasures.wake()
    await read_your_writes.wait_for(decided.position, USERS, PENDING_ACCOUNTS)
    return MessageResponse(code=200, message=messages.SUCCEEDED)


def _pending(user: PendingUser) -> PendingUserOnWire:
    return PendingUserOnWire(user.id, user.username, user.email, wire_time(user.create_time))
