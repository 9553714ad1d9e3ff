"""Uploading an avatar, and serving those that were uploaded."""

from contextlib import closing
from functools import partial
from typing import Any

from litestar import Request, Response, post, route
from litestar.enums import RequestEncodingType
from litestar.params import FromPath

from huajuan.auth.tokens import Me
from huajuan.commands.set_avatar import set_avatar
from huajuan.domain.refusals import NotRegistered
from huajuan.event_store.errors import LogUnavailable
from huajuan.event_store.request_context import new_id
from huajuan.http import messages
from huajuan.http.errors import Answers, Refusal, answering
from huajuan.http.openapi.operations import BUSY, NO_TOKEN, TOO_LARGE, Exact, Said, replies, takes_file
from huajuan.http.routes.pictures import PICTURE_REPLIES, answer
from huajuan.http.routes.profile import AvatarReply, no_avatar
from huajuan.http.serializers import PICTURE_KEY
from huajuan.http.services import AtDesk, Desk
from huajuan.http.spooling import SPOOLED, BodyLost, file_in, spooled
from huajuan.projections.users import USERS
from huajuan.storage.avatars import UPLOAD_BYTES_MAX, PortraitUnfit
from huajuan.storage.pictures import PNG, PictureMissing

# The parts of a multipart body that are not the file.
AROUND_UPLOAD_BYTES_MAX = 64 << 10
LIMITS = "PNG, JPEG or WebP, up to 20 MiB and 64 megapixels"
EXAMPLE = "http://localhost:8080/avatars/5f0c6a1e9d6b4d0f8a3c2b1e7d9f4a60.png"
UPLOAD_ANSWERS: Answers = {
    PortraitUnfit: no_avatar(400, messages.PORTRAIT_UNFIT),
    BodyLost: no_avatar(400, messages.PORTRAIT_UNFIT),
    NotRegistered: no_avatar(500, messages.AVATAR_NOT_CHANGED),
    LogUnavailable: no_avatar(500, messages.AVATAR_NOT_CHANGED),
}


@post(
    "/auth/uploadavatar",
    tags=["Account"],
    status_code=200,
    operation_id="UploadAvatar",
    operation_class=takes_file("file", LIMITS),
    request_max_body_size=UPLOAD_BYTES_MAX + AROUND_UPLOAD_BYTES_MAX,
    opt={SPOOLED: True},
    responses=replies(
        {
            200: (AvatarReply, [{"msg": messages.AVATAR_CHANGED, "data": EXAMPLE}]),
            400: (AvatarReply, [{"msg": messages.PORTRAIT_UNFIT, "data": None}]),
            401: (Said, NO_TOKEN),
            413: (Said, TOO_LARGE),
            500: (AvatarReply, [{"msg": messages.AVATAR_NOT_CHANGED, "data": None}]),
            503: (Said, BUSY),
        }
    ),
)
async def upload_avatar(request: Request[Any, Any, Any], me: Me, desk: AtDesk) -> AvatarReply:
    """Upload an avatar: a PNG, JPEG or WebP as `file`. Up to 20 MiB and 64 megapixels."""
    avatar_id = new_id("avatar")
    with answering(UPLOAD_ANSWERS):
        portrait = await _portrait(request, desk)
        key = await desk.avatars.put(avatar_id, me.account_id, portrait)
        decided = await set_avatar(desk.store, me.account_id, f"/avatars/{key}")
    await desk.avatars.stated(avatar_id)
    await desk.show(decided.position, USERS)
    url = f"{desk.settings.public_address}/avatars/{key}"
    return AvatarReply(code=200, msg=messages.AVATAR_CHANGED, data=url)


@route(
    "/avatars/{key:str}",
    tags=["Account"],
    http_method=["GET", "HEAD"],
    status_code=200,
    media_type=PNG,
    operation_class=Exact,
    responses=PICTURE_REPLIES,
)
async def avatar_picture(
    request: Request[Any, Any, Any], key: FromPath[str], desk: AtDesk
) -> Response[bytes]:
    """An uploaded avatar as PNG."""
    try:
        if not PICTURE_KEY.fullmatch(key):
            raise PictureMissing
        return await answer(request, key, await desk.avatars.files.look(key), desk.avatars.files)
    except PictureMissing:
        raise Refusal(404, message=messages.IMAGE_NOT_FOUND) from None


async def _portrait(request: Request[Any, Any, Any], desk: Desk) -> bytes:
    """Of what was sent as `file`. Anything else that arrives is no picture."""
    kind, options = request.content_type
    border = options.get("boundary", "").encode("latin-1", "replace")
    if kind != RequestEncodingType.MULTI_PART or not border:
        raise PortraitUnfit
    with closing(await spooled(request, desk.portraits)) as spool:
        return await desk.portraits.make(partial(file_in, spool, border, "file"))
