"""Picture files over HTTP: whole, in part, and conditional requests."""

import httpx
import pytest
import pytest_asyncio

from tests.http.conftest import ORDER, Person, body

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def path(client: httpx.AsyncClient, person: Person) -> str:
    ann = await person(checked_in=True)
    made = (await client.post("/auth/generate", json=ORDER, headers=ann)).json()
    return "/images/" + str(made["image_url"]).rsplit("/", 1)[1]


async def test_a_picture_needs_no_token(client: httpx.AsyncClient, path: str) -> None:
    reply = await client.get(path)
    assert (reply.status_code, reply.headers["content-type"]) == (200, "image/png")
    assert reply.headers["cache-control"] == "public, max-age=300"
    assert reply.headers["etag"].startswith('"')
    assert reply.content.startswith(b"\x89PNG")


async def test_head_says_what_get_would_send(client: httpx.AsyncClient, path: str) -> None:
    whole, head = await client.get(path), await client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-length", "content-type", "etag", "cache-control"):
        assert head.headers[name] == whole.headers[name]


@pytest.mark.parametrize("tag", ["{}", "W/{}", '"other", {}', "*"])
async def test_a_picture_already_had_is_not_sent_again(
    client: httpx.AsyncClient, path: str, tag: str
) -> None:
    etag = (await client.get(path)).headers["etag"]
    reply = await client.get(path, headers={"If-None-Match": tag.format(etag)})
    assert (reply.status_code, reply.content, reply.headers["etag"]) == (304, b"", etag)


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [("bytes=0-9", 0, 10), ("bytes=10-", 10, None), ("bytes=-5", -5, None), ("bytes=5-999999", 5, None)],
)
async def test_a_range_is_sent_alone(
    client: httpx.AsyncClient, path: str, asked: str, start: int, end: int | None
) -> None:
    whole = (await client.get(path)).content
    reply = await client.get(path, headers={"Range": asked})
    part = whole[start:end]
    first = start % len(whole)
    assert (reply.status_code, reply.content) == (206, part)
    assert reply.headers["content-range"] == f"bytes {first}-{first + len(part) - 1}/{len(whole)}"


async def test_a_range_behind_the_end(client: httpx.AsyncClient, path: str) -> None:
    size = len((await client.get(path)).content)
    reply = await client.get(path, headers={"Range": f"bytes={size}-"})
    assert (reply.status_code, reply.headers["content-range"]) == (416, f"bytes */{size}")


@pytest.mark.parametrize("asked", ["bytes=9-0", "bytes=0-1,4-5", "lines=0-1", "bytes=-", "bytes=a-b"])
async def test_any_other_range_gets_the_whole(client: httpx.AsyncClient, path: str, asked: str) -> None:
    assert (await client.get(path, headers={"Range": asked})).status_code == 200


async def test_a_range_of_another_picture_gets_the_whole(client: httpx.AsyncClient, path: str) -> None:
    reply = await client.get(path, headers={"Range": "bytes=0-9", "If-Range": '"other"'})
    assert reply.status_code == 200


@pytest.mark.parametrize(
    "name",
    [
        "0" * 32 + ".png", "nothing.png", "..%2f..%2fetc%2fpasswd", "%2e%2e", "..", "signing.key", "a" * 5000,
        "%00.png", "0" * 32 + ".PNG", "0" * 32 + ".png%2f..%2fx",
    ],
)  # fmt: skip
async def test_what_is_no_picture_is_not_found(client: httpx.AsyncClient, name: str) -> None:
    reply = await client.get(f"/images/{name}")
    assert reply.status_code == 404
    assert body(reply)["message"] in ("未找到相关图片", "接口不存在")
