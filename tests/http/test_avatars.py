"""Uploading an avatar over HTTP."""

import io

import httpx
import pytest
from PIL import Image

from tests.http.conftest import Person, body
from tests.test_portraits import bomb, picture

pytestmark = pytest.mark.asyncio(loop_scope="module")
UNFIT = {"msg": "头像图片不合法", "data": None}


async def upload(
    client: httpx.AsyncClient, who: dict[str, str], content: bytes, field: str = "file"
) -> httpx.Response:
    return await client.post(
        "/auth/uploadavatar", files={field: ("me.png", content, "image/png")}, headers=who
    )


async def test_an_upload_becomes_the_avatar(client: httpx.AsyncClient, person: Person) -> None:
    ann = await person()
    reply = await upload(client, ann, picture("JPEG"))
    url = body(reply)["data"]
    assert (reply.status_code, reply.json()["msg"]) == (200, "头像更新成功")
    assert url.startswith("http://pictures.example/avatars/")
    assert body(await client.get("/auth/getavatar", headers=ann))["data"] == url
    path = url.removeprefix("http://pictures.example")
    served = await client.get(path)
    assert (served.status_code, served.headers["content-type"]) == (200, "image/png")
    assert Image.open(io.BytesIO(served.content)).size == (512, 256)
    assert (await client.get(path.replace("avatars", "images"))).status_code == 404


@pytest.mark.parametrize("content", [b"", b"no picture", bomb(60_000), picture("GIF")], ids=range(4))
async def test_an_unfit_upload_changes_nothing(
    client: httpx.AsyncClient, person: Person, content: bytes
) -> None:
    ann = await person()
    reply = await upload(client, ann, content)
    assert (reply.status_code, body(reply)) == (400, UNFIT)
    assert body(await client.get("/auth/getavatar", headers=ann))["data"] == ""


async def test_what_is_no_upload_is_unfit(client: httpx.AsyncClient, person: Person) -> None:
    ann = await person()
    multipart = {"Content-Type": "multipart/form-data; boundary=x"}
    replies = [
        await upload(client, ann, picture(), field="other"),
        await client.post("/auth/uploadavatar", headers=ann),
        await client.post("/auth/uploadavatar", json={"file": "x"}, headers=ann),
        await client.post("/auth/uploadavatar", data={"file": "text"}, headers=ann),
        await client.post("/auth/uploadavatar", content=b"--x\r\nbroken", headers=ann | multipart),
        await client.post(
            "/auth/uploadavatar", content=b"x", headers=ann | {"Content-Type": "multipart/form-data"}
        ),
    ]
    assert [(reply.status_code, body(reply)) for reply in replies] == [(400, UNFIT)] * len(replies)


@pytest.mark.parametrize("size", [(2 << 20) + 1, 3 << 20])
async def test_an_upload_over_the_limit(client: httpx.AsyncClient, person: Person, size: int) -> None:
    reply = await upload(client, await person(), picture() + b"x" * size)
    assert (reply.status_code, body(reply)) == (413, {"message": "请求体过大"})


@pytest.mark.parametrize("key", ["0" * 32 + ".png", "x", "..%2fx"])
async def test_what_is_no_avatar_is_not_found(client: httpx.AsyncClient, key: str) -> None:
    assert (await client.get(f"/avatars/{key}")).status_code == 404
