"""Uploading an avatar over HTTP."""

import asyncio
import io

import httpx
import pytest
from PIL import Image

from tests.http.conftest import Person, body
from tests.storage.test_avatars import bomb, picture

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


def of_size(size: int) -> bytes:
    """A picture, padded to this size."""
    made = picture()
    return made + bytes(size - len(made))


async def test_an_upload_up_to_the_limit(client: httpx.AsyncClient, person: Person) -> None:
    assert (await upload(client, await person(), of_size(20 << 20))).status_code == 200


@pytest.mark.parametrize("size", [(20 << 20) + 1, 21 << 20])
async def test_an_upload_over_the_limit(client: httpx.AsyncClient, person: Person, size: int) -> None:
    reply = await upload(client, await person(), of_size(size))
    assert (reply.status_code, body(reply)) == (413, {"message": "请求体过大"})
    reply = await upload(client, await person() | {"Idempotency-Key": "k"}, of_size(size))
    assert (reply.status_code, body(reply)) == (413, {"message": "请求体过大"})


async def test_other_routes_take_no_more_than_before(client: httpx.AsyncClient, person: Person) -> None:
    ann = await person()
    for path in ("/auth/setavatar", "/auth/generate", "/login"):
        reply = await client.post(path, content=b" " * ((1 << 20) + 1), headers=ann)
        assert (reply.status_code, body(reply)["message"]) == (413, "请求体过大")


BORDER = "----border"


def form(*parts: tuple[str, bytes]) -> bytes:
    """A body of these parts; the first of each pair follows `form-data` in its header."""
    joined = b"".join(
        f"--{BORDER}\r\nContent-Disposition: form-data{words}\r\n\r\n".encode() + content + b"\r\n"
        for words, content in parts
    )
    return joined + f"--{BORDER}--\r\n".encode()


async def send(client: httpx.AsyncClient, who: dict[str, str], content: bytes) -> httpx.Response:
    kind = {"Content-Type": f"multipart/form-data; boundary={BORDER}"}
    return await client.post("/auth/uploadavatar", content=content, headers=who | kind)


FITS: dict[str, bytes] = {
    "without a file name": form(('; name="file"', picture())),
    "with an empty file name": form(('; name="file"; filename=""', picture())),
    "with a name of any letters": form(('; name="file"; filename="我的 头像.png"', picture("JPEG"))),
    "beside other fields": form(
        ('; name="note"', b"me"), ('; name="file"', picture()), ('; name="x"', b"\xff")
    ),
    "with words around": b"preamble\r\n" + form(('; name="file"', picture())) + b"epilogue",
}
FITS_NOT: dict[str, bytes] = {
    "nothing": b"",
    "no part": form(),
    "another name": form(('; name="picture"; filename="me.png"', picture())),
    "a name in capitals": form(('; name="File"; filename="me.png"', picture())),
    "no name": form(("", picture())),
    "two files": form(*[('; name="file"; filename="me.png"', picture())] * 2),
    "an empty file": form(('; name="file"; filename="me.png"', b"")),
    "no end": form(('; name="file"; filename="me.png"', picture()))[:-20],
    "too many parts": form(*[('; name="x"', b"")] * 50, ('; name="file"', picture())),
    "a head that is too long": form((f'; name="file"; filename="{"x" * 9000}"', picture())),
}


@pytest.mark.parametrize("content", FITS.values(), ids=FITS)
async def test_a_part_that_is_called_file_is_one(
    client: httpx.AsyncClient, person: Person, content: bytes
) -> None:
    ann = await person()
    assert (await send(client, ann, content)).status_code == 200
    assert "/avatars/" in body(await client.get("/auth/getavatar", headers=ann))["data"]


@pytest.mark.parametrize("content", FITS_NOT.values(), ids=FITS_NOT)
async def test_a_form_without_one_file_is_unfit(
    client: httpx.AsyncClient, person: Person, content: bytes
) -> None:
    reply = await send(client, await person(), content)
    assert (reply.status_code, body(reply)) == (400, UNFIT)


async def test_a_copy_with_the_same_key_changes_nothing_though_its_border_is_another(
    client: httpx.AsyncClient, person: Person
) -> None:
    ann = await person() | {"Idempotency-Key": "one-avatar"}
    replies = [await upload(client, ann, picture(size=(900, 900))) for _ in range(2)]
    assert [reply.status_code for reply in replies] == [200, 200]
    assert replies[0].json() == replies[1].json()
    assert replies[1].headers["idempotency-replayed"] == "true"
    assert (await upload(client, ann, picture(size=(901, 900)))).status_code == 422


async def test_every_place_is_given_back(client: httpx.AsyncClient, person: Person) -> None:
    """More rejected and repeated uploads than may be received at once."""
    ann = await person()
    for number in range(15):
        await upload(client, ann, b"no picture")
        await send(client, ann, FITS_NOT["no end"])
        await upload(client, ann | {"Idempotency-Key": f"k{number % 3}"}, picture())
        await client.post("/auth/uploadavatar", json={}, headers=ann | {"Idempotency-Key": f"j{number % 3}"})
    assert (await upload(client, ann, picture())).status_code == 200


async def test_many_at_once_are_taken_or_told_to_come_back(client: httpx.AsyncClient, person: Person) -> None:
    ann = await person()
    content = picture("JPEG", (2000, 2000))
    replies = await asyncio.gather(*(upload(client, ann, content) for _ in range(30)))
    assert {reply.status_code for reply in replies} <= {200, 503}
    assert (await upload(client, ann, content)).status_code == 200


@pytest.mark.parametrize("key", ["0" * 32 + ".png", "x", "..%2fx"])
async def test_what_is_no_avatar_is_not_found(client: httpx.AsyncClient, key: str) -> None:
    assert (await client.get(f"/avatars/{key}")).status_code == 404


async def test_a_full_disk_is_told_to_come_back(
    client: httpx.AsyncClient, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    ann = await person()
    monkeypatch.setattr("tempfile.SpooledTemporaryFile.write", full)
    for headers in (ann, ann | {"Idempotency-Key": "k"}):
        reply = await upload(client, headers, picture())
        assert (reply.status_code, body(reply)) == (503, {"message": "服务繁忙，请稍后再试"})
    monkeypatch.undo()
    assert (await upload(client, ann | {"Idempotency-Key": "k"}, picture())).status_code == 200
