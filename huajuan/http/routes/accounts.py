"""Registering, logging in, and one's own account."""

from typing import Annotated, Any

import msgspec
from litestar import Request, get, post

from huajuan.auth.tokens import Me
from huajuan.commands.login import LoggedIn
from huajuan.commands.login import login as log_in
from huajuan.commands.register import Form
from huajuan.commands.register import register as register_account
from huajuan.domain import refusals
from huajuan.domain.account import Account
from huajuan.domain.credentials import (
    PASSWORD_CHARACTERS_MAX,
    PASSWORD_CHARACTERS_MIN,
    USERNAME_CHARACTERS_MAX,
    is_password_too_long,
    spell_name,
)
from huajuan.event_store.errors import LogUnavailable
from huajuan.event_store.loader import Stream
from huajuan.event_store.store import Decided
from huajuan.http import messages
from huajuan.http.errors import Answers, Refusal, answering
from huajuan.http.middleware.idempotency import concerns
from huajuan.http.middleware.proxies import client_address
from huajuan.http.openapi.operations import (
    BUSY,
    NO_TOKEN,
    TOO_LARGE,
    Explained,
    Said,
    document,
    replies,
    takes,
)
from huajuan.http.own_addresses import present
from huajuan.http.request_body import Unreadable, malformed, read_form
from huajuan.http.serializers import OwnUser, own_user
from huajuan.http.services import AtDesk, Desk
from huajuan.projections.pending_accounts import PENDING_ACCOUNTS
from huajuan.projections.point_balances import POINT_BALANCES
from huajuan.projections.users import USERS, user

Password = Annotated[str, document(maxLength=PASSWORD_CHARACTERS_MAX)]


class PasswordForm(msgspec.Struct):
    """A body with passwords, of up to 1024 characters in NFC each; a longer one makes it unreadable."""

    def __post_init__(self) -> None:
        given = (getattr(self, name, None) for name in ("password", "old_password"))
        if any(is_password_too_long(password) for password in given if password):
            raise ValueError


class RegisterForm(PasswordForm):
    """An application for an account."""

    email: Annotated[str, document(format="email")] = ""
    username: Annotated[str, document(minLength=1, maxLength=USERNAME_CHARACTERS_MAX)] = ""
    password: Annotated[Password, document(minLength=PASSWORD_CHARACTERS_MIN)] = ""


class LoginForm(PasswordForm):
    """A name and its password."""

    username: str = ""
    password: Password = ""


class LoggedInReply(Said, kw_only=True):
    """The token to send as `Authorization`."""

    token: str
    avatar: str


class UserReply(msgspec.Struct, kw_only=True):
    """One's own account."""

    code: int
    user: OwnUser


REGISTER_ANSWERS: Answers = {
    Unreadable: malformed(),
    LogUnavailable: Refusal(500, message=messages.NOT_REGISTERED, error=messages.DATABASE_AWAY),
    **{k: Refusal(500, message=messages.NOT_REGISTERED, error=text) for k, text in messages.FORM.items()},
}
NOT_REGISTERED_BECAUSE = (*messages.FORM.values(), messages.DATABASE_AWAY)
LOGIN_ANSWERS: Answers = {
    Unreadable: malformed(),
    refusals.NotRegistered: Refusal(401, message=messages.USER_UNKNOWN),
    refusals.WrongPassword: Refusal(401, message=messages.PASSWORD_WRONG),
    refusals.AccountBanned: Refusal(403, message=messages.ACCOUNT_BANNED),
    refusals.AccountPending: Refusal(403, message=messages.ACCOUNT_PENDING),
    LogUnavailable: Refusal(500, message=messages.LOGIN_QUERY_FAILED),
}
INFO_ANSWERS: Answers = {
    LogUnavailable: Refusal(500, message=messages.QUERY_FAILED, error=messages.DATABASE_AWAY),
}


@post(
    "/register",
    tags=["Account"],
    status_code=200,
    operation_id="Register",
    operation_class=takes(
        RegisterForm,
        {"email": "3@qq.com", "username": "czh0", "password": "123456"},
        *("email", "username", "password"),
    ),
    responses=replies(
        {
            200: (Said, [{"message": text} for text in (messages.REGISTERED, messages.REGISTERED_PENDING)]),
            400: (Said, [{"message": messages.MALFORMED}]),
            403: (Said, [{"message": messages.REGISTRATION_CLOSED}]),
            413: (Said, TOO_LARGE),
            429: (Said, [{"message": messages.TOO_MANY_FAILURES}]),
            500: (
                Explained,
                [{"message": messages.NOT_REGISTERED, "error": text} for text in NOT_REGISTERED_BECAUSE],
            ),
            503: (Said, BUSY),
        }
    ),
)
async def register(request: Request[Any, Any, Any], desk: AtDesk) -> Said:
    """Open an account.

    A name has up to 30 characters: none that cannot be seen, none of `/ \\ ? # %`, no white space at an end. It is
    neither `.` nor `..`, and begins with no combining mark.
    """
    with answering(REGISTER_ANSWERS):
        form = await read_form(request, RegisterForm)
        concerns(request, desk.store.stream_ids.account(form.username))
        decided = await _register(form, client_address(request), desk)
    await desk.show(decided.position, USERS, POINT_BALANCES, PENDING_ACCOUNTS)
    is_pending = decided.aggregates[0].is_pending
    return Said(code=200, message=messages.REGISTERED_PENDING if is_pending else messages.REGISTERED)


async def _register(form: RegisterForm, address: str, desk: Desk) -> Decided:
    if desk.settings.registration == "closed":
        # A registration that was made before stays one, when its request is run again.
        account = Stream(Account, desk.store.stream_ids.account(form.username))
        if earlier := await desk.store.made_before(account):
            return earlier
        raise Refusal(403, message=messages.REGISTRATION_CLOSED)
    return await register_account(
        desk.store,
        desk.passwords,
        Form(form.username, form.email, form.password),
        desk.settings.welcome_points,
        needs_approval=desk.settings.registration == "approval",
        limit=desk.registrations.guard(address),
    )


@post(
    "/login",
    tags=["Account"],
    status_code=200,
    operation_id="Login",
    operation_class=takes(LoginForm, {"username": "czh0", "password": "123456"}, "username", "password"),
    responses=replies(
        {
            200: (
                LoggedInReply,
                [{"message": messages.LOGGED_IN, "token": "eyJhbGciOiJIUzI1NiI…", "avatar": ""}],
            ),
            400: (Said, [{"message": messages.MALFORMED}]),
            401: (Said, [{"message": messages.USER_UNKNOWN}, {"message": messages.PASSWORD_WRONG}]),
            403: (Said, [{"message": text} for text in (messages.ACCOUNT_BANNED, messages.ACCOUNT_PENDING)]),
            413: (Said, TOO_LARGE),
            429: (Said, [{"message": messages.TOO_MANY_FAILURES}]),
            500: (Said, [{"message": messages.LOGIN_QUERY_FAILED}]),
            503: (Said, BUSY),
        }
    ),
)
async def login(request: Request[Any, Any, Any], desk: AtDesk) -> LoggedInReply:
    """Get a token."""
    with answering(LOGIN_ANSWERS):
        form = await read_form(request, LoginForm)
        concerns(request, desk.store.stream_ids.account(form.username))
        known = await prove_password(form, request, desk)
    avatar = present(known.avatar_url, desk.settings.public_addresses)
    return LoggedInReply(code=200, message=messages.LOGGED_IN, token=desk.tokens.issue(known), avatar=avatar)


async def prove_password(form: LoginForm, request: Request[Any, Any, Any], desk: Desk) -> LoggedIn:
    """Only failures count; while it is under way the attempt holds a place, so that none slips past the limit."""
    async with desk.attempts.guard(spell_name(form.username), client_address(request)) as attempt:
        try:
            known = await log_in(desk.store, desk.passwords, form.username, form.password)
        except (refusals.NotRegistered, refusals.WrongPassword):
            attempt.failed()
            raise
        attempt.succeeded()
    return known


@post(
    "/auth/logout",
    tags=["Account"],
    status_code=200,
    operation_id="LogOut",
    responses=replies(
        {200: (Said, [{"message": messages.LOGGED_OUT}]), 401: (Said, NO_TOKEN), 503: (Said, BUSY)}
    ),
)
async def logout(me: Me, desk: AtDesk) -> Said:
    """Revoke the token that this request was sent with, and no other."""
    await desk.sessions.revoke(me.jti, me.account_id, me.exp)
    return Said(code=200, message=messages.LOGGED_OUT)


@get(
    "/auth/user/info",
    tags=["Account"],
    operation_id="GetUserInfo",
    responses=replies(
        {
            200: (
                UserReply,
                [
                    {
                        "user": {
                            "id": 1,
                            "email": "3@qq.com",
                            "username": "czh0",
                            "avatar_url": "",
                            "score": 80,
                            "create_time": "2024-11-21T23:31:25.924231Z",
                        }
                    }
                ],
            ),
            401: (Said, NO_TOKEN),
            404: (Said, [{"message": messages.USER_NOT_FOUND}]),
            500: (Explained, [{"message": messages.QUERY_FAILED, "error": messages.DATABASE_AWAY}]),
            503: (Said, BUSY),
        }
    ),
)
async def user_info(me: Me, desk: AtDesk) -> UserReply:
    """One's own account, points included."""
    with answering(INFO_ANSWERS):
        found = await user(desk.tables, me.account_id)
    if found is None:
        raise Refusal(404, message=messages.USER_NOT_FOUND)
    return UserReply(code=200, user=own_user(found, desk.settings.public_addresses))
