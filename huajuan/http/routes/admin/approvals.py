"""Admins decide on accounts that wait for approval."""

from typing import Any
from uuid import UUID

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath

from huajuan.commands.approve_account import approve_account
from huajuan.commands.erase_account import reject_account
from huajuan.domain import refusals
from huajuan.http import messages
from huajuan.http.errors import Answers, Refusal, answering
from huajuan.http.links import next_page
from huajuan.http.openapi.operations import BUSY, NO_TOKEN, Explained, Said, asks, named, replies, takes
from huajuan.http.query_params import limit_of, query_of
from huajuan.http.reasons import reason_in
from huajuan.http.request_body import Unreadable, malformed, read_form
from huajuan.http.routes.admin.moderation import ReasonForm, replies_to_act
from huajuan.http.routes.check_in import NO_STORE
from huajuan.http.routes.profile import after_id
from huajuan.http.serializers import Moment, wire_time
from huajuan.http.services import AtDesk, Desk
from huajuan.projections.pending_accounts import PENDING_ACCOUNTS
from huajuan.projections.point_balances import POINT_BALANCES
from huajuan.projections.users import USERS, PendingUser, pending_users


class PendingUserOnWire(msgspec.Struct):
    """An account that waits for approval; `create_time` is when it was registered."""

    id: int
    username: str
    email: str
    create_time: Moment


class PendingUsersReply(Said, kw_only=True):
    """The accounts that wait, the longest waiting first; a `Link` header leads to more."""

    users: list[PendingUserOnWire]


ANSWERS: Answers = {
    Unreadable: malformed(),
    refusals.NotRegistered: Refusal(404, message=messages.USER_UNKNOWN),
    refusals.NotPending: Refusal(409, message=messages.NOT_PENDING),
}
REPLIES = replies_to_act((Said, [{"message": messages.WELL}]), (), messages.NOT_PENDING)
EXAMPLE_PENDING = {
    "id": 7, "username": "czh0", "email": "3@qq.com", "create_time": "2024-11-21T23:31:25.924231Z",
}  # fmt: skip


@get(
    "/admin/users/pending",
    tags=["Admin"],
    operation_id="ListPendingUsers",
    operation_class=asks(limit="how many at most", after="where the `Link` of the page before leads"),
    responses=replies(
        {
            200: (PendingUsersReply, [{"message": messages.WELL, "users": [EXAMPLE_PENDING]}]),
            400: (Explained, [{"message": messages.QUERY_UNFIT, "error": "limit"}]),
            401: (Said, NO_TOKEN),
            403: (Said, [{"message": messages.NOT_ADMIN}]),
            503: (Said, BUSY),
        }
    ),
)
async def pending(request: Request[Any, Any, Any], desk: AtDesk) -> Response[PendingUsersReply]:
    """The accounts that wait for approval."""
    given, settings = query_of(request), desk.settings
    limit = limit_of(given, settings.list_rows_max)
    found = await pending_users(desk.tables, limit + 1, after_id(given))
    page, headers = found[:limit], dict(NO_STORE)
    if len(found) > limit:
        headers |= next_page(request, settings.public_address, given, str(page[-1].id))
    reply = PendingUsersReply(code=200, message=messages.WELL, users=[_on_wire(user) for user in page])
    return Response(reply, headers=headers)


@post(
    "/admin/users/{username:str}/approve",
    tags=["Admin"],
    status_code=200,
    operation_id="Approve",
    operation_class=named(takes(ReasonForm, {"reason": "a colleague"}, "reason")),
    responses=REPLIES,
)
async def approve(request: Request[Any, Any, Any], username: FromPath[str], desk: AtDesk) -> Said:
    """Approve an account that waits. Its owner may log in from now on, and has the welcome points."""
    with answering(ANSWERS):
        form = await read_form(request, ReasonForm)
        decided = await approve_account(desk.store, _account(desk, username), reason_in(form))
    await desk.show(decided.position, PENDING_ACCOUNTS, POINT_BALANCES)
    return Said(code=200, message=messages.WELL)


@post(
    "/admin/users/{username:str}/reject",
    tags=["Admin"],
    status_code=200,
    operation_id="Reject",
    operation_class=named(takes(ReasonForm, {"reason": "spam"}, "reason")),
    responses=REPLIES,
)
async def reject(request: Request[Any, Any, Any], username: FromPath[str], desk: AtDesk) -> Said:
    """Reject an account that waits. It is erased: its e-mail address is free again, and its name stays taken."""
    with answering(ANSWERS):
        form = await read_form(request, ReasonForm)
        account_id = _account(desk, username)
        decided = await reject_account(desk.store, desk.erasures, account_id, reason_in(form))
    desk.sessions.ended(account_id)
    desk.erasures.wake()
    await desk.show(decided.position, USERS, PENDING_ACCOUNTS)
    return Said(code=200, message=messages.WELL)


def _on_wire(user: PendingUser) -> PendingUserOnWire:
    return PendingUserOnWire(user.id, user.username, user.email, wire_time(user.create_time))


def _account(desk: Desk, name: str) -> UUID:
    return desk.store.stream_ids.account(name)
