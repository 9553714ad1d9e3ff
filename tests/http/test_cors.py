"""CORS: the headers that allowed and other origins may send and read."""

import re
from pathlib import Path

import httpx
import pytest

import huajuan.http
from huajuan.http.middleware import cors
from tests.http.conftest import ORDER, Person
from tests.http.document import document

MODULE = pytest.mark.asyncio(loop_scope="module")
KNOWN, UNKNOWN = {"Origin": "http://localhost:8081"}, {"Origin": "http://evil.example"}
ASKING = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
# CORS-safelisted headers, which need no permission.
ANYBODY_SENDS, ANYBODY_READS = {"accept"}, {"cache-control"}
SOURCES = [
    file.read_text("utf-8")
    for file in Path(huajuan.http.__file__).parent.rglob("*.py")
    if file.name != "document.py"
]


def in_sources(pattern: str) -> set[str]:
    return {name.lower() for source in SOURCES for name in re.findall(pattern, source)}


def names(header: str) -> set[str]:
    return {name.lower() for name in header.split(", ")}


@pytest.mark.parametrize("path", ["/healthz", "/nothing", "/auth/user/info"])
@MODULE
async def test_a_known_origin_reads_all_that_a_reply_tells(client: httpx.AsyncClient, path: str) -> None:
    reply = await client.get(path, headers=KNOWN)
    assert reply.headers["access-control-allow-origin"] == "http://localhost:8081"
    exposed = names(reply.headers["access-control-expose-headers"])
    assert exposed >= {
        "preference-applied",
        "location",
        "retry-after",
        "idempotency-replayed",
        "link",
        "etag",
    }
    told = in_sources(r"headers\[\"([A-Za-z-]+)\"\]") | in_sources(r"\"(Location|Retry-After|ETag)\":")
    assert exposed >= told - {"content-length"}


def test_all_headers_of_the_document_may_be_read() -> None:
    operations = [operation for methods in document()["paths"].values() for operation in methods.values()]
    told = {
        name.lower()
        for operation in operations
        for reply in operation["responses"].values()
        for name in reply.get("headers", ())
    }
    assert len(told) > 5
    assert told - ANYBODY_READS <= names(cors._EXPOSED_HEADERS.decode())


@MODULE
async def test_a_known_origin_may_send_all_that_is_read(client: httpx.AsyncClient) -> None:
    reply = await client.options("/auth/generate", headers=KNOWN | ASKING)
    assert (reply.status_code, reply.content) == (204, b"")
    allowed = names(reply.headers["access-control-allow-headers"])
    read = in_sources(r"headers\.get(?:all)?\(\"([a-z-]+)\"") - ANYBODY_SENDS
    assert "last-event-id" in read
    assert allowed == read | {"content-type", "idempotency-key", "x-request-id"}
    assert "POST" in reply.headers["access-control-allow-methods"]


@MODULE
async def test_an_unknown_origin_gets_no_headers_and_no_error(client: httpx.AsyncClient) -> None:
    plain = await client.get("/healthz", headers=UNKNOWN)
    asking = await client.options("/auth/generate", headers=UNKNOWN | ASKING)
    assert (plain.status_code, asking.status_code) == (200, 204)
    for reply in (plain, asking):
        assert not any(name.startswith("access-control") for name in reply.headers)


PICTURE = f"/images/{'0' * 32}.png"


def varies(reply: httpx.Response) -> bool:
    return "origin" in names(reply.headers.get("vary", ""))


@pytest.mark.parametrize("origin", [{}, KNOWN, UNKNOWN], ids=["none", "known", "unknown"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/healthz"), ("GET", "/nothing"), ("DELETE", "/healthz"), ("GET", "/auth/user/info"),
        ("POST", "/login"), ("GET", "/image/all"), ("OPTIONS", "/healthz"),
    ],
)  # fmt: skip
@MODULE
async def test_any_other_reply_varies_by_origin(
    client: httpx.AsyncClient, method: str, path: str, origin: dict[str, str]
) -> None:
    reply = await client.request(method, path, headers=origin)
    assert varies(reply)
    assert (reply.headers.get("access-control-allow-origin") == "http://localhost:8081") == (origin is KNOWN)
    assert varies(await client.options(path, headers=origin | ASKING))


@pytest.mark.parametrize("origin", [{}, KNOWN, UNKNOWN], ids=["none", "known", "unknown"])
@MODULE
async def test_anybody_reads_pictures(
    client: httpx.AsyncClient, person: Person, origin: dict[str, str]
) -> None:
    ann = await person(checked_in=True)
    drawn = (await client.post("/auth/generate", json=ORDER, headers=ann)).json()["image_url"]
    path = drawn.removeprefix("http://pictures.example")
    etag = (await client.get(path)).headers["etag"]
    replies = [
        await client.get(path, headers=origin),
        await client.head(path, headers=origin),
        await client.get(path, headers=origin | {"Range": "bytes=0-3"}),
        await client.get(path, headers=origin | {"Range": "bytes=99999999-"}),
        await client.get(path, headers=origin | {"If-None-Match": etag}),
        await client.get(PICTURE, headers=origin),
        await client.get(PICTURE.replace("images", "avatars"), headers=origin),
        await client.get("/avatars/nothing", headers=origin),
        await client.delete(path, headers=origin),
        await client.options(path, headers=origin),
    ]
    assert [reply.status_code for reply in replies[:8]] == [200, 200, 206, 416, 304, 404, 404, 404]
    if origin:
        replies.append(await client.options(path, headers=origin | ASKING))
    for reply in replies:
        assert reply.headers.get_list("access-control-allow-origin") == ["*"]
        assert names(reply.headers["access-control-expose-headers"]) >= {"etag", "content-range"}
        assert "access-control-allow-credentials" not in reply.headers
        assert not varies(reply)
