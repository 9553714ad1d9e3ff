"""Registration, login, logout, one's own account, and erasure."""

from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request

from huajuan.auth.passwords import Passwords
from huajuan.auth.rate_limits import LoginAttempts, RateLimited, RegistrationAttempts
from huajuan.auth.sessions import Claims, Sessions, Tokens
from huajuan.commands.accounts import RegistrationForm
from huajuan.commands.accounts import login as log_in
from huajuan.commands.accounts import register as register_account
from huajuan.commands.erase_account import erase_account as erase
from huajuan.commands.moderation import protecting_last_admin
from huajuan.domain import refusals
from huajuan.domain.account import Account
from huajuan.domain.credentials import (
    PASSWORD_CHARACTERS_MAX,
    PASSWORD_CHARACTERS_MIN,
    USERNAME_CHARACTERS_MAX,
    AuthenticatedAccount,
    is_password_too_long,
    normalize_username,
)
from huajuan.event_store.errors import DatabaseUnavailable
from huajuan.event_store.loader import Stream
from huajuan.event_store.store import ChangeResult, EventStore, after_commit
from huajuan.http import messages
from huajuan.http.errors import RATE_LIMITED, UNKNOWN_USER, ApiError
from huajuan.http.middleware.guards import is_admin
from huajuan.http.middleware.idempotency import store_response_for
from huajuan.http.middleware.normalization import client_address
from huajuan.http.openapi.operations import json_body, operation, query_params
from huajuan.http.openapi.responses import MessageResponse
from huajuan.http.request import query_of, read_form, schema_keys
from huajuan.http.serializers import OwnUser, own_user
from huajuan.http.services import ReadYourWrites
from huajuan.http.urls import current_url
from huajuan.projections.engine.table import ReadTables
from huajuan.projections.pending_accounts import PENDING_ACCOUNTS
from huajuan.projections.point_balances import POINT_BALANCES
from huajuan.projections.queries.accounts import own_profile
from huajuan.projections.users import USERS
from huajuan.settings import Settings
from huajuan.storage.deletions import Erasures

Password = Annotated[str, schema_keys(maxLength=PASSWORD_CHARACTERS_MAX)]


class PasswordForm(msgspec.Struct):
    """A body with passwords of up to 1024 characters in NFC each; a longer one makes it unreadable."""

    def __post_init__(self) -> None:
        given = (getattr(self, name, None) for name in ("password", "old_password"))
        if any(is_password_too_long(password) for password in given if password):
            raise ValueError


class RegisterForm(PasswordForm):
    """An application for an account."""

    email: Annotated[str, schema_keys(format="email")] = ""
    username: Annotated[str, schema_keys(minLength=1, maxLength=USERNAME_CHARACTERS_MAX)] = ""
    password: Annotated[Password, schema_keys(minLength=PASSWORD_CHARACTERS_MIN)] = ""


class LoginForm(PasswordForm):
    """A username and its password."""

    username: str = ""
    password: Password = ""


class LoginResponse(MessageResponse, kw_only=True):
    """The token to send as `Authorization`."""

    token: str
    avatar: str


class UserResponse(msgspec.Struct, kw_only=True):
    """One's own account."""

    code: int
    user: OwnUser


REGISTRATION_CLOSED = ApiError(403, message=messages.REGISTRATION_CLOSED)
NOT_ROOT = ApiError(400, message=messages.NOT_ROOT, error=messages.NOT_ROOT)
NO_ACCOUNT_NAMED = ApiError(400, message=messages.QUERY_INVALID, error=messages.NO_ACCOUNT_NAMED)
NO_SUCH_USER = ApiError(404, message=messages.USER_NOT_FOUND)
LAST_ADMIN = ApiError(409, message=messages.LAST_ADMIN)


def _not_registered(text: str) -> ApiError:
    return ApiError(500, message=messages.NOT_REGISTERED, error=text)


@operation(
    "Account",
    examples=[{"message": text} for text in (messages.REGISTERED, messages.REGISTERED_PENDING)],
    body=json_body(
        RegisterForm,
        {"email": "3@qq.com", "username": "czh0", "password": "123456"},
        *("email", "username", "password"),
    ),
    errors={
        **{kind: _not_registered(text) for kind, text in messages.REGISTRATION_ERRORS.items()},
        DatabaseUnavailable: _not_registered(messages.DATABASE_UNAVAILABLE),
        RateLimited: RATE_LIMITED,
    },
    raises=(REGISTRATION_CLOSED,),
)
async def register(
    request: Request[Any, Any, Any],
    store: EventStore,
    passwords: Passwords,
    registrations: RegistrationAttempts,
    settings: Settings,
    read_your_writes: ReadYourWrites,
) -> MessageResponse:
    """Open an account.

    A username has up to 30 characters: no invisible ones, none of `/ \\ ? # %`, no white space at an end. \
It is neither
    `.` nor `..`, and does not begin with a combining mark.
    """
    form = await read_form(request, RegisterForm)
    account_id = store.stream_ids.account(form.username)
    store_response_for(request, account_id)
    if settings.registration == "closed":
        decided = await _registered_earlier(store, account_id)
    else:
        decided = await register_account(
            store,
            passwords,
            RegistrationForm(form.username, form.email, form.password),
            settings.welcome_points,
            needs_approval=settings.registration == "approval",
            limit=registrations.guard(client_address(request)),
        )
    await read_your_writes.wait_for(decided.position, USERS, POINT_BALANCES, PENDING_ACCOUNTS)
    is_pending = decided.aggregates[0].is_pending
    return MessageResponse(
        code=200, message=messages.REGISTERED_PENDING if is_pending else messages.REGISTERED
    )


async def _registered_earlier(store: EventStore, account_id: UUID) -> ChangeResult:
    """The result of an earlier run of this request, which stays valid after registration was closed."""
    if earlier := await store.previous_result(Stream(Account, account_id)):
        return earlier
    raise REGISTRATION_CLOSED


@operation(
    "Account",
    examples=[{"message": messages.LOGGED_IN, "token": "eyJhbGciOiJIUzI1NiI…", "avatar": ""}],
    body=json_body(LoginForm, {"username": "czh0", "password": "123456"}, "username", "password"),
    errors={
        refusals.NotRegistered: ApiError(401, message=messages.USER_UNKNOWN),
        refusals.WrongPassword: ApiError(401, message=messages.PASSWORD_WRONG),
        refusals.AccountBanned: ApiError(403, message=messages.ACCOUNT_BANNED),
        refusals.AccountPending: ApiError(403, message=messages.ACCOUNT_PENDING),
        DatabaseUnavailable: ApiError(500, message=messages.LOGIN_QUERY_FAILED),
        RateLimited: RATE_LIMITED,
    },
)
async def login(
    request: Request[Any, Any, Any],
    store: EventStore,
    passwords: Passwords,
    attempts: LoginAttempts,
    tokens: Tokens,
    settings: Settings,
) -> LoginResponse:
    """Get a token."""
    form = await read_form(request, LoginForm)
    store_response_for(request, store.stream_ids.account(form.username))
    account = await verify_password(form, client_address(request), store, passwords, attempts)
    avatar = current_url(account.avatar_url, settings.public_addresses)
    return LoginResponse(code=200, message=messages.LOGGED_IN, token=tokens.issue(account), avatar=avatar)


async def verify_password(
    form: LoginForm, address: str, store: EventStore, passwords: Passwords, attempts: LoginAttempts
) -> AuthenticatedAccount:
    """Only failures count towards the limit. A running attempt counts as well, so that none exceeds it."""
    async with attempts.guard(normalize_username(form.username), address) as attempt:
        try:
            account = await log_in(store, passwords, form.username, form.password)
        except (refusals.NotRegistered, refusals.WrongPassword):
            attempt.failed()
            raise
        attempt.succeeded()
    return account


@operation("Account", examples=[{"message": messages.LOGGED_OUT}])
async def log_out(claims: Claims, sessions: Sessions) -> MessageResponse:
    """Revoke the token of this request, and no other."""
    await sessions.revoke(claims.jti, claims.account_id, claims.exp)
    return MessageResponse(code=200, message=messages.LOGGED_OUT)


EXAMPLE_USER = {
    "id": 1,
    "email": "3@qq.com",
    "username": "czh0",
    "avatar_url": "",
    "score": 80,
    "create_time": "2024-11-21T23:31:25.924231Z",
}


@operation(
    "Account",
    examples=[{"user": EXAMPLE_USER}],
    errors={
        DatabaseUnavailable: ApiError(500, message=messages.QUERY_FAILED, error=messages.DATABASE_UNAVAILABLE)
    },
    raises=(NO_SUCH_USER,),
)
async def get_user_info(claims: Claims, tables: ReadTables, settings: Settings) -> UserResponse:
    """One's own account, points included."""
    found = await own_profile(tables, claims.account_id)
    if found is None:
        raise NO_SUCH_USER
    return UserResponse(code=200, user=own_user(found, settings.public_addresses))


@operation(
    "Account",
    examples=[{"message": text.format(name="czh0")} for text in (messages.ERASED, messages.USER_DELETED)],
    parameters=query_params(
        isOwn="`true` erases one's own account, for good",
        username="whose account to erase; anybody's but one's own takes an admin",
    ),
    errors={refusals.NotRegistered: UNKNOWN_USER, refusals.LastAdmin: LAST_ADMIN},
    raises=(NOT_ROOT, NO_ACCOUNT_NAMED),
)
async def erase_account(
    request: Request[Any, Any, Any],
    claims: Claims,
    store: EventStore,
    erasures: Erasures,
    sessions: Sessions,
    settings: Settings,
    read_your_writes: ReadYourWrites,
) -> MessageResponse:
    """Erase an account for good.

    Its pictures, likes and favorites are erased, its points are forfeited, and its name stays taken. \
The last admin
    cannot be erased.
    """
    name, account_id = await _account_to_erase(query_of(request), claims, store)
    dsn, seconds_max = settings.database_url, settings.statement_seconds_max
    async with protecting_last_admin(store, dsn, account_id, seconds_max):
        decided = await erase(store, erasures, account_id)
    # Other processes read this from the log; here the tokens end before the response is sent.
    with after_commit("end of sessions"):
        sessions.ended(account_id)
    with after_commit("begin of clearing"):
        erasures.wake()
    await read_your_writes.wait_for(decided.position, USERS, POINT_BALANCES)
    text = messages.ERASED if account_id == claims.account_id else messages.USER_DELETED
    return MessageResponse(code=200, message=text.format(name=name))


async def _account_to_erase(given: dict[str, str], claims: Claims, store: EventStore) -> tuple[str, UUID]:
    """The name and the id of the account. `isOwn` never applies to another account's name."""
    name = normalize_username(given.get("username", claims.username))
    if name != claims.username:
        if not await is_admin(store, claims):
            raise NOT_ROOT
        return name, store.stream_ids.account(name)
    if given.get("isOwn") != "true":
        raise NO_ACCOUNT_NAMED
    return name, claims.account_id
