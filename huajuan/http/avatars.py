"""Uploading an avatar, and serving those that were uploaded."""

from typing import Any

from litestar import Request, Response, post, route
from litestar.datastructures import UploadFile
from litestar.exceptions import ClientException
from litestar.params import FromPath

from huajuan.commands.set_avatar import set_avatar
from huajuan.domain.refusals import NotRegistered
from huajuan.event_store.caller import new_id
from huajuan.event_store.errors import LogUnavailable
from huajuan.http import phrases
from huajuan.http.desk import AtDesk
from huajuan.http.documented import BUSY, NO_TOKEN, TOO_LARGE, Exact, Said, replies, takes_file
from huajuan.http.envelope import Answers, Refusal, answering
from huajuan.http.files import PICTURE_REPLIES, PNG, answer
from huajuan.http.presenting import PICTURE_KEY
from huajuan.http.profile import AvatarReply, no_avatar
from huajuan.http.tokens import Me
from huajuan.pictures import PictureMissing
from huajuan.portraits import PortraitUnfit
from huajuan.projections.users import USERS

UPLOAD_BYTES_MAX = 2 << 20
# The parts of a multipart body that are not the file.
AROUND_UPLOAD_BYTES_MAX = 64 << 10
EXAMPLE = "http://localhost:8080/avatars/5f0c6a1e9d6b4d0f8a3c2b1e7d9f4a60.png"
UPLOAD_ANSWERS: Answers = {
    PortraitUnfit: no_avatar(400, phrases.PORTRAIT_UNFIT),
    NotRegistered: no_avatar(500, phrases.AVATAR_NOT_CHANGED),
    LogUnavailable: no_avatar(500, phrases.AVATAR_NOT_CHANGED),
}


@post(
    "/auth/uploadavatar",
    tags=["Account"],
    status_code=200,
    operation_id="UploadAvatar",
    operation_class=takes_file("file", "PNG, JPEG or WebP, up to 2 MiB"),
    request_max_body_size=UPLOAD_BYTES_MAX + AROUND_UPLOAD_BYTES_MAX,
    responses=replies(
        {
            200: (AvatarReply, [{"msg": phrases.AVATAR_CHANGED, "data": EXAMPLE}]),
            400: (AvatarReply, [{"msg": phrases.PORTRAIT_UNFIT, "data": None}]),
            401: (Said, NO_TOKEN),
            413: (Said, TOO_LARGE),
            500: (AvatarReply, [{"msg": phrases.AVATAR_NOT_CHANGED, "data": None}]),
            503: (Said, BUSY),
        }
    ),
)
async def upload_avatar(request: Request[Any, Any, Any], me: Me, desk: AtDesk) -> AvatarReply:
    """Upload an avatar: multipart, `file` a PNG, JPEG or WebP up to 2 MiB."""
    with answering(UPLOAD_ANSWERS):
        portrait = await desk.portraits.make(await _uploaded(request))
        key = await desk.avatars.put(new_id("avatar"), me.account_id, portrait)
        url = f"{desk.settings.public_address}/avatars/{key}"
        decided = await set_avatar(desk.store, me.account_id, url)
    await desk.show(decided.position, USERS)
    return AvatarReply(code=200, msg=phrases.AVATAR_CHANGED, data=url)


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
        raise Refusal(404, message=phrases.IMAGE_NOT_FOUND) from None


async def _uploaded(request: Request[Any, Any, Any]) -> bytes:
    """What was sent as `file`. Anything else that arrives is no picture."""
    try:
        file = (await request.form()).get("file")
    except (ClientException, ValueError) as error:
        if isinstance(error, ClientException) and error.status_code == 413:
            raise
        raise PortraitUnfit from error
    if not isinstance(file, UploadFile):
        raise PortraitUnfit
    content = await file.read(UPLOAD_BYTES_MAX + 1)
    if len(content) > UPLOAD_BYTES_MAX:
        raise Refusal(413, message=phrases.BODY_TOO_LARGE)
    return content
