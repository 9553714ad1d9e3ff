"""One's avatar and account, and who else there is."""

from dataclasses import replace
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get, post, put

from huajuan.auth.tokens import Claims, Me
from huajuan.commands.login import LoggedIn
from huajuan.commands.set_avatar import set_avatar
from huajuan.commands.update_account import Changes, check_changes, update_account, updated_earlier
from huajuan.domain.account import Account
from huajuan.domain.refusals import AccountBanned, AvatarUnfit, NotRegistered
from huajuan.event_store.after_commit import after_commit
from huajuan.event_store.errors import LogUnavailable
from huajuan.event_store.store import Decided
from huajuan.http import messages
from huajuan.http.errors import Answers, Refusal, answering
from huajuan.http.links import next_page
from huajuan.http.openapi.operations import (
    BUSY,
    NO_TOKEN,
    TOO_LARGE,
    Explained,
    Said,
    asks,
    document,
    replies,
    takes,
)
from huajuan.http.own_addresses import own_path, present
from huajuan.http.query_params import limit_of, query_of, unfit, whole_number
from huajuan.http.request_body import Unreadable, read_form
from huajuan.http.routes.accounts import LoginForm, Password, PasswordForm, prove_password
from huajuan.http.serializers import PublicUser, public_user
from huajuan.http.services import AtDesk, Desk
from huajuan.projections.users import USERS, user, users


class AvatarForm(msgspec.Struct):
    """The avatar's address; empty takes it away."""

    url: str


class AvatarReply(msgspec.Struct, kw_only=True):
    """The avatar's address; null in a refusal."""

    code: int
    msg: str
    data: str | None


class UpdateForm(PasswordForm):
    """What is to change; `avator_url` is another spelling of `avatar_url`."""

    email: str | None = None
    password: Password | None = None
    old_password: Annotated[
        Password | None,
        document(description="Sent with a new password it must be right; without one it is ignored."),
    ] = None
    avatar_url: str | None = None
    avator_url: str | None = None
    username: Annotated[Any, document(readOnly=True, description="Never changes.")] = None

    @property
    def avatar(self) -> str | None:
        """By either spelling."""
        return self.avatar_url if self.avatar_url is not None else self.avator_url


class UpdatedReply(Said, kw_only=True):
    """`token` is there where the password is new: it takes the place of the one that this request was sent with."""

    token: str | msgspec.UnsetType = msgspec.UNSET


class UsersReply(Said, kw_only=True):
    """What anyone may know of everybody; a `Link` header leads to more."""

    users: list[PublicUser]


def no_avatar(status: int, text: str) -> Refusal:
    return Refusal(status, msg=text, data=None)


SET_ANSWERS: Answers = {
    Unreadable: no_avatar(400, messages.MALFORMED),
    AvatarUnfit: no_avatar(400, messages.AVATAR_UNFIT),
    NotRegistered: no_avatar(500, messages.AVATAR_NOT_CHANGED),
    LogUnavailable: no_avatar(500, messages.AVATAR_NOT_CHANGED),
}
GET_ANSWERS: Answers = {LogUnavailable: no_avatar(500, messages.AVATAR_QUERY_FAILED)}
UPDATE_ANSWERS: Answers = {
    AccountBanned: Refusal(401, message=messages.TOKEN_INVALID),
    Unreadable: Refusal(400, message=messages.MALFORMED, error=messages.MALFORMED),
    LogUnavailable: Refusal(500, message=messages.USER_NOT_UPDATED, error=messages.DATABASE_AWAY),
    **{k: Refusal(500, message=messages.USER_NOT_UPDATED, error=text) for k, text in messages.UPDATE.items()},
}
NOT_UPDATED_BECAUSE = (*messages.UPDATE.values(), messages.NAME_FIXED, messages.DATABASE_AWAY)
USERS_ANSWERS: Answers = {LogUnavailable: Refusal(500, message=messages.USERS_NOT_LISTED)}
AVATAR_URL = "https://example.org/me.png"


@post(
    ["/auth/setavatar", "/auth/setavator"],
    tags=["Account"],
    status_code=200,
    operation_class=takes(AvatarForm, {"url": AVATAR_URL}),
    responses=replies(
        {
            200: (AvatarReply, [{"msg": messages.AVATAR_CHANGED, "data": AVATAR_URL}]),
            400: (
                AvatarReply,
                [{"msg": text, "data": None} for text in (messages.MALFORMED, messages.AVATAR_UNFIT)],
            ),
            401: (Said, NO_TOKEN),
            413: (Said, TOO_LARGE),
            500: (AvatarReply, [{"msg": messages.AVATAR_NOT_CHANGED, "data": None}]),
            503: (Said, BUSY),
        }
    ),
)
async def change_avatar(request: Request[Any, Any, Any], me: Me, desk: AtDesk) -> AvatarReply:
    """Set one's avatar by its address."""
    addresses = desk.settings.public_addresses
    with answering(SET_ANSWERS):
        form = await read_form(request, AvatarForm)
        url = own_path(form.url, addresses) or form.url
        decided = await set_avatar(desk.store, me.account_id, url)
    desk.avatars.wake()
    await desk.show(decided.position, USERS)
    return AvatarReply(code=200, msg=messages.AVATAR_CHANGED, data=present(url, addresses))


@get(
    ["/auth/getavatar", "/auth/getavator"],
    tags=["Account"],
    responses=replies(
        {
            200: (AvatarReply, [{"msg": messages.AVATAR, "data": AVATAR_URL}]),
            401: (Said, NO_TOKEN),
            500: (AvatarReply, [{"msg": messages.AVATAR_QUERY_FAILED, "data": None}]),
            503: (Said, BUSY),
        }
    ),
)
async def avatar(me: Me, desk: AtDesk) -> AvatarReply:
    """One's avatar."""
    with answering(GET_ANSWERS):
        found = await user(desk.tables, me.account_id)
    if found is None:
        raise no_avatar(500, messages.AVATAR_QUERY_FAILED)
    address = present(found.avatar_url, desk.settings.public_addresses)
    return AvatarReply(code=200, msg=messages.AVATAR, data=address)


@put(
    "/auth/user/update",
    tags=["Account"],
    operation_id="UpdateUser",
    operation_class=takes(UpdateForm, {"email": "new@qq.com", "avatar_url": AVATAR_URL}),
    responses=replies(
        {
            200: (
                UpdatedReply,
                [
                    {"message": messages.USER_UPDATED},
                    {"message": messages.USER_UPDATED, "token": "eyJhbGciOiJIUzI1NiI…"},
                ],
            ),
            400: (Explained, [{"message": messages.MALFORMED, "error": messages.MALFORMED}]),
            401: (Said, NO_TOKEN),
            413: (Said, TOO_LARGE),
            429: (Said, [{"message": messages.TOO_MANY_FAILURES}]),
            500: (
                Explained,
                [{"message": messages.USER_NOT_UPDATED, "error": text} for text in NOT_UPDATED_BECAUSE],
            ),
            503: (Said, BUSY),
        }
    ),
)
async def update(request: Request[Any, Any, Any], me: Me, desk: AtDesk) -> UpdatedReply:
    """Change e-mail, password and avatar: all of it, or nothing.

    A new password ends every session; its `token` goes on with this one. An `old_password` that is sent with it must
    be right, and a wrong one counts as a failed log-in.
    """
    with answering(UPDATE_ANSWERS):
        form = await read_form(request, UpdateForm)
        if form.username is not None:
            raise Refusal(500, message=messages.USER_NOT_UPDATED, error=messages.NAME_FIXED)
        decided = await updated_earlier(desk.store, me.account_id) or await _update(form, me, request, desk)
    token = _new_token(decided.aggregates[0], desk) if form.password is not None else msgspec.UNSET
    # Others hear of it from the log; here an older token is dead before the reply is sent.
    with after_commit("end of sessions"):
        desk.sessions.ended(me.account_id)
    if form.avatar is not None:
        desk.avatars.wake()
    await desk.show(decided.position, USERS)
    return UpdatedReply(code=200, message=messages.USER_UPDATED, token=token)


async def _update(form: UpdateForm, me: Claims, request: Request[Any, Any, Any], desk: Desk) -> Decided:
    avatar_url = form.avatar
    if avatar_url is not None:
        avatar_url = own_path(avatar_url, desk.settings.public_addresses) or avatar_url
    changes = Changes(form.email, form.password, avatar_url)
    check_changes(changes)
    if form.password is not None and form.old_password is not None:
        known = await prove_password(LoginForm(me.username, form.old_password), request, desk)
        changes = replace(changes, proven=known.credential)
    return await update_account(desk.store, desk.passwords, me.account_id, changes)


def _new_token(account: Account, desk: Desk) -> str:
    return desk.tokens.issue(
        LoggedIn(account.id, account.username or "", account.credential, account.avatar_url or "")
    )


@get(
    "/user/all",
    tags=["Account"],
    operation_id="ListUsers",
    operation_class=asks(limit="how many at most", after="where the `Link` of the page before leads"),
    responses=replies(
        {
            200: (
                UsersReply,
                [
                    {
                        "message": messages.USERS_LISTED,
                        "users": [
                            {
                                "id": 1,
                                "username": "czh0",
                                "avatar_url": "",
                                "create_time": "2024-11-21T23:31:25.924231Z",
                            }
                        ],
                    }
                ],
            ),
            400: (Explained, [{"message": messages.QUERY_UNFIT, "error": "limit"}]),
            500: (Said, [{"message": messages.USERS_NOT_LISTED}]),
            503: (Said, BUSY),
        }
    ),
)
async def all_users(request: Request[Any, Any, Any], desk: AtDesk) -> Response[UsersReply]:
    """Everybody, by id, as far as anyone may know them."""
    given = query_of(request)
    limit, address = limit_of(given, desk.settings.list_rows_max), desk.settings.public_address
    with answering(USERS_ANSWERS):
        found = await users(desk.tables, limit + 1, after_id(given))
    page = found[:limit]
    headers = next_page(request, address, given, str(page[-1].id)) if len(found) > limit else {}
    addresses = desk.settings.public_addresses
    listed = [public_user(found, addresses) for found in page]
    reply = UsersReply(code=200, message=messages.USERS_LISTED, users=listed)
    return Response(reply, headers=headers)


def after_id(given: dict[str, str]) -> int:
    """The id behind which a page begins. Raises `Refusal`."""
    try:
        return whole_number(given["after"]) if "after" in given else 0
    except ValueError:
        raise unfit("after") from None
