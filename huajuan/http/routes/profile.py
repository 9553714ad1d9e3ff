"""One's avatar and account data, and the list of users."""

from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Annotated, Any

import msgspec
from litestar import Request, Response
from litestar.enums import RequestEncodingType
from litestar.params import FromPath

from huajuan.auth.passwords import Passwords
from huajuan.auth.rate_limits import LoginAttempts, RateLimited
from huajuan.auth.sessions import Claims, Sessions, Tokens
from huajuan.commands.accounts import (
    AccountChanges,
    check_changes,
    previous_update,
    set_avatar,
    update_account,
)
from huajuan.domain.account import Account
from huajuan.domain.credentials import AuthenticatedAccount
from huajuan.domain.refusals import AccountBanned, AvatarUrlInvalid, NotRegistered
from huajuan.event_store.errors import DatabaseUnavailable
from huajuan.event_store.request_context import new_id
from huajuan.event_store.store import EventStore, after_commit
from huajuan.http import messages
from huajuan.http.errors import RATE_LIMITED, ApiError, UnreadableBody
from huajuan.http.middleware.normalization import client_address
from huajuan.http.openapi.operations import (
    PAGE_PARAMETERS,
    file_body,
    invalid_parameters,
    json_body,
    operation,
    query_params,
)
from huajuan.http.openapi.responses import MessageResponse
from huajuan.http.request import after_id, limit_of, query_of, read_form, schema_keys
from huajuan.http.routes.accounts import LoginForm, Password, PasswordForm, verify_password
from huajuan.http.routes.pictures import NO_SUCH_PICTURE, PICTURE_RESPONSES, picture_response
from huajuan.http.serializers import PICTURE_KEY, PublicUser, public_user
from huajuan.http.services import ReadYourWrites
from huajuan.http.uploads import BodyIncomplete, file_in, receive_spool
from huajuan.http.urls import current_url, next_page, own_path
from huajuan.projections.engine.table import ReadTables
from huajuan.projections.queries.accounts import list_users as select_users
from huajuan.projections.queries.accounts import own_profile
from huajuan.projections.users import USERS
from huajuan.settings import Settings
from huajuan.storage.avatars import UPLOAD_BYTES_MAX, AvatarMaker, InvalidAvatar
from huajuan.storage.deletions import AvatarFiles
from huajuan.storage.pictures import PNG, PictureMissing

# The parts of a multipart body around the file.
MULTIPART_OVERHEAD_BYTES_MAX = 64 << 10
AVATAR_URL = "https://example.org/me.png"
UPLOADED_AVATAR_URL = "http://localhost:8080/avatars/5f0c6a1e9d6b4d0f8a3c2b1e7d9f4a60.png"


class AvatarForm(msgspec.Struct):
    """The avatar's address; empty removes the avatar."""

    url: str


class AvatarResponse(msgspec.Struct, kw_only=True):
    """The avatar's address; null in an error."""

    code: int
    msg: str
    data: str | None


class UpdateForm(PasswordForm):
    """The changes; `avator_url` is another spelling of `avatar_url`."""

    email: str | None = None
    password: Password | None = None
    old_password: Annotated[
        Password | None,
        schema_keys(description="Sent with a new password it must be right; without one it is ignored."),
    ] = None
    avatar_url: str | None = None
    avator_url: str | None = None
    username: Annotated[Any, schema_keys(readOnly=True, description="Never changes.")] = None

    @property
    def avatar(self) -> str | None:
        """Under either spelling."""
        return self.avatar_url if self.avatar_url is not None else self.avator_url


class UpdatedResponse(MessageResponse, kw_only=True):
    """`token` is present if the password is new: it replaces the token of this request."""

    token: str | msgspec.UnsetType = msgspec.UNSET


class UsersResponse(MessageResponse, kw_only=True):
    """The public fields of all accounts; a `Link` header leads to more."""

    users: list[PublicUser]


def _avatar_error(status: int, text: str) -> ApiError:
    return ApiError(status, msg=text, data=None)


def _not_updated(text: str) -> ApiError:
    return ApiError(500, message=messages.USER_NOT_UPDATED, error=text)


NOT_CHANGED = _avatar_error(500, messages.AVATAR_NOT_CHANGED)
AVATAR_QUERY_FAILED = _avatar_error(500, messages.AVATAR_QUERY_FAILED)
INVALID_PICTURE = _avatar_error(400, messages.AVATAR_PICTURE_INVALID)
USERNAME_FIXED = _not_updated(messages.USERNAME_FIXED)


@operation(
    "Account",
    examples=[{"msg": messages.AVATAR_CHANGED, "data": AVATAR_URL}],
    body=json_body(AvatarForm, {"url": AVATAR_URL}),
    errors={
        UnreadableBody: _avatar_error(400, messages.MALFORMED),
        AvatarUrlInvalid: _avatar_error(400, messages.AVATAR_URL_INVALID),
        NotRegistered: NOT_CHANGED,
        DatabaseUnavailable: NOT_CHANGED,
    },
)
async def change_avatar(
    request: Request[Any, Any, Any],
    claims: Claims,
    store: EventStore,
    avatars: AvatarFiles,
    settings: Settings,
    read_your_writes: ReadYourWrites,
) -> AvatarResponse:
    """Set one's avatar by its address."""
    addresses = settings.public_addresses
    form = await read_form(request, AvatarForm)
    url = own_path(form.url, addresses) or form.url
    decided = await set_avatar(store, claims.account_id, url)
    avatars.wake()
    await read_your_writes.wait_for(decided.position, USERS)
    return AvatarResponse(code=200, msg=messages.AVATAR_CHANGED, data=current_url(url, addresses))


@operation(
    "Account",
    examples=[{"msg": messages.AVATAR, "data": AVATAR_URL}],
    errors={DatabaseUnavailable: AVATAR_QUERY_FAILED},
)
async def avatar(claims: Claims, tables: ReadTables, settings: Settings) -> AvatarResponse:
    """One's avatar."""
    found = await own_profile(tables, claims.account_id)
    if found is None:
        raise AVATAR_QUERY_FAILED
    url = current_url(found.avatar_url, settings.public_addresses)
    return AvatarResponse(code=200, msg=messages.AVATAR, data=url)


@operation(
    "Account",
    examples=[{"msg": messages.AVATAR_CHANGED, "data": UPLOADED_AVATAR_URL}],
    body=file_body(
        "file",
        "PNG, JPEG or WebP, up to 20 MiB and 64 megapixels",
        UPLOAD_BYTES_MAX + MULTIPART_OVERHEAD_BYTES_MAX,
    ),
    errors={
        InvalidAvatar: INVALID_PICTURE,
        BodyIncomplete: INVALID_PICTURE,
        NotRegistered: NOT_CHANGED,
        DatabaseUnavailable: NOT_CHANGED,
    },
)
async def upload_avatar(
    request: Request[Any, Any, Any],
    claims: Claims,
    store: EventStore,
    avatars: AvatarFiles,
    avatar_maker: AvatarMaker,
    settings: Settings,
    read_your_writes: ReadYourWrites,
) -> AvatarResponse:
    """Upload an avatar: a PNG, JPEG or WebP as `file`. Up to 20 MiB and 64 megapixels."""
    avatar_id = new_id("avatar")
    picture = await _uploaded_picture(request, avatar_maker)
    key = await avatars.put(avatar_id, claims.account_id, picture)
    decided = await set_avatar(store, claims.account_id, f"/avatars/{key}")
    await avatars.mark_referenced(avatar_id)
    await read_your_writes.wait_for(decided.position, USERS)
    url = f"{settings.public_address}/avatars/{key}"
    return AvatarResponse(code=200, msg=messages.AVATAR_CHANGED, data=url)


async def _uploaded_picture(request: Request[Any, Any, Any], avatar_maker: AvatarMaker) -> bytes:
    """The part `file`, decoded and encoded anew. Raises `InvalidAvatar` for any other body."""
    kind, options = request.content_type
    boundary = options.get("boundary", "").encode("latin-1", "replace")
    if kind != RequestEncodingType.MULTI_PART or not boundary:
        raise InvalidAvatar
    with closing(await receive_spool(request, avatar_maker)) as spool:
        return await avatar_maker.make(partial(file_in, spool, boundary, "file"))


@operation(
    "Account",
    media_type=PNG,
    responses=PICTURE_RESPONSES,
    errors={PictureMissing: NO_SUCH_PICTURE},
)
async def avatar_picture(
    request: Request[Any, Any, Any], key: FromPath[str], avatars: AvatarFiles
) -> Response[bytes]:
    """An uploaded avatar as PNG."""
    if not PICTURE_KEY.fullmatch(key):
        raise PictureMissing
    return await picture_response(request, key, await avatars.files.look_up(key), avatars.files)


@operation(
    "Account",
    examples=[
        {"message": messages.USER_UPDATED},
        {"message": messages.USER_UPDATED, "token": "eyJhbGciOiJIUzI1NiI…"},
    ],
    body=json_body(UpdateForm, {"email": "new@qq.com", "avatar_url": AVATAR_URL}),
    errors={
        AccountBanned: ApiError(401, message=messages.TOKEN_INVALID),
        UnreadableBody: ApiError(400, message=messages.MALFORMED, error=messages.MALFORMED),
        **{kind: _not_updated(text) for kind, text in messages.UPDATE_ERRORS.items()},
        DatabaseUnavailable: _not_updated(messages.DATABASE_UNAVAILABLE),
        RateLimited: RATE_LIMITED,
    },
    raises=(USERNAME_FIXED,),
)
async def update_user(
    request: Request[Any, Any, Any],
    claims: Claims,
    store: EventStore,
    passwords: Passwords,
    attempts: LoginAttempts,
    tokens: Tokens,
    sessions: Sessions,
    avatars: AvatarFiles,
    settings: Settings,
    read_your_writes: ReadYourWrites,
) -> UpdatedResponse:
    """Change e-mail, password and avatar: all of them or nothing.

    A new password ends every session; the `token` in the response continues this one. \
An `old_password` that is sent
    with it must be right, and a wrong one counts as a failed login.
    """
    form = await read_form(request, UpdateForm)
    if form.username is not None:
        raise USERNAME_FIXED
    decided = await previous_update(store, claims.account_id)
    if decided is None:
        changes = _changes(form, settings)
        check_changes(changes)
        if form.password is not None and form.old_password is not None:
            old = LoginForm(claims.username, form.old_password)
            verified = await verify_password(old, client_address(request), store, passwords, attempts)
            changes = replace(changes, verified_credential=verified.credential)
        decided = await update_account(store, passwords, claims.account_id, changes)
    token = _new_token(decided.aggregates[0], tokens) if form.password is not None else msgspec.UNSET
    # Other processes read this from the log; here older tokens end before the response is sent.
    with after_commit("end of sessions"):
        sessions.ended(claims.account_id)
    if form.avatar is not None:
        avatars.wake()
    await read_your_writes.wait_for(decided.position, USERS)
    return UpdatedResponse(code=200, message=messages.USER_UPDATED, token=token)


def _changes(form: UpdateForm, settings: Settings) -> AccountChanges:
    url = form.avatar
    return AccountChanges(
        form.email, form.password, url and (own_path(url, settings.public_addresses) or url)
    )


def _new_token(account: Account, tokens: Tokens) -> str:
    return tokens.issue(
        AuthenticatedAccount(account.id, account.username or "", account.credential, account.avatar_url or "")
    )


EXAMPLE_USER = {
    "id": 1,
    "username": "czh0",
    "avatar_url": "",
    "create_time": "2024-11-21T23:31:25.924231Z",
}


@operation(
    "Account",
    examples=[{"message": messages.USERS_LISTED, "users": [EXAMPLE_USER]}],
    parameters=query_params(**PAGE_PARAMETERS),
    errors={DatabaseUnavailable: ApiError(500, message=messages.USERS_NOT_LISTED)},
    raises=invalid_parameters("limit", "after"),
)
async def list_users(
    request: Request[Any, Any, Any], tables: ReadTables, settings: Settings
) -> Response[UsersResponse]:
    """All accounts by id, with their public fields."""
    given = query_of(request)
    limit, address = limit_of(given, settings.list_rows_max), settings.public_address
    found = await select_users(tables, limit + 1, after_id(given))
    page = found[:limit]
    headers = next_page(request, address, given, str(page[-1].id)) if len(found) > limit else {}
    listed = [public_user(found, settings.public_addresses) for found in page]
    reply = UsersResponse(code=200, message=messages.USERS_LISTED, users=listed)
    return Response(reply, headers=headers)
