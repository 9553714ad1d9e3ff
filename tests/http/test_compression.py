"""Responses are compressed if the client accepts it, but never those with secrets."""

import asyncio
import gzip
from typing import Any

import httpx
import pytest

from huajuan.http.middleware import compression
from huajuan.http.middleware.compression import (
    accepts_gzip,
    compress_responses,
    compressed_headers,
    is_compressible,
)
from huajuan.http.openapi.api_page import ASSETS
from tests.http.conftest import ORDER, Person
from tests.response_cache.test_middleware import IMAGES, cache_hits, wait_until_cached
from tests.services import client_of

MODULE = pytest.mark.asyncio(loop_scope="module")
GZIP, PLAIN = {"Accept-Encoding": "gzip"}, {"Accept-Encoding": "identity"}
JSON = (b"content-type", b"application/json")


@pytest.mark.parametrize(
    ("accepted", "expected"),
    [
        ("gzip", True),
        ("GZIP", True),
        ("x-gzip", True),
        ("*", True),
        ("br, gzip;q=0.5", True),
        ("deflate, gzip ; q=1.000", True),
        ("gzip;q=0.5, identity;q=0.5", True),
        ("identity;q=0, gzip;q=0.001", True),
        ("", False),
        ("identity", False),
        ("br, deflate", False),
        ("gzip;q=0", False),
        ("gzip;q=0.000", False),
        ("*;q=0", False),
        ("*, gzip;q=0", False),
        ("gzip;q=0.4, identity;q=0.5", False),
        ("gzip;q=1e400", False),
        ("gzip;q=nan", False),
        ("gzip;q=-1", False),
        ("gzip;q=", False),
        ("gzipped", False),
        ("gzip," * 200, False),
        (",;,=;q", False),
    ],
)
def test_gzip_is_used_only_when_asked_for(accepted: str, expected: bool) -> None:
    assert accepts_gzip(accepted) is expected


@pytest.mark.parametrize("path", ["/schema", "/schema/openapi.json", f"/schema/{ASSETS}/swagger-ui.css"])
@MODULE
async def test_a_compressed_reply_is_the_same_reply(client: httpx.AsyncClient, path: str) -> None:
    plain, squeezed = [await client.get(path, headers=headers) for headers in (PLAIN, GZIP)]
    assert "content-encoding" not in plain.headers
    assert squeezed.headers["content-encoding"] == "gzip"
    assert squeezed.content == plain.content
    assert int(squeezed.headers["content-length"]) < int(plain.headers["content-length"])
    for reply in (plain, squeezed):
        assert "accept-encoding" in reply.headers["vary"].lower()
        assert reply.headers["content-type"] == plain.headers["content-type"]
        assert reply.headers["cache-control"] == plain.headers["cache-control"]


@MODULE
async def test_both_headers_that_replies_vary_by_are_named(client: httpx.AsyncClient) -> None:
    headers = GZIP | {"Origin": "http://localhost:8081"}
    varies = (await client.get("/schema", headers=headers)).headers["vary"]
    assert {name.strip().lower() for name in varies.split(",")} == {"origin", "accept-encoding"}


@MODULE
async def test_lists_are_compressed_and_pictures_and_streams_are_not(
    client: httpx.AsyncClient, person: Person
) -> None:
    me = await person(checked_in=True)
    made = (await client.post("/auth/generate", json=ORDER | {"prompt": "sun " * 500}, headers=me)).json()
    path = made["image_url"].removeprefix("http://pictures.example")
    picture = await client.get(path, headers=GZIP)
    assert picture.headers["content-type"] == "image/png"
    assert "content-encoding" not in picture.headers
    assert "accept-encoding" not in picture.headers.get("vary", "").lower()
    assert not picture.headers["etag"].startswith("W/")
    job = (await client.get("/auth/generations", headers=me)).json()["generations"][0]["id"]
    events = await client.get(f"/auth/generations/{job}/events", headers=me | GZIP)
    assert events.headers["content-type"].startswith("text/event-stream")
    assert "content-encoding" not in events.headers
    for list_path in ("/image/all", IMAGES, "/auth/imageSquare"):
        plain, squeezed = [await client.get(list_path, headers=me | asked) for asked in (PLAIN, GZIP)]
        assert "content-encoding" not in plain.headers
        assert squeezed.headers["content-encoding"] == "gzip"
        assert squeezed.json() == plain.json()


@MODULE
async def test_what_is_short_or_holds_a_token_is_not_compressed(client: httpx.AsyncClient) -> None:
    name = "n" * 30
    form = {"username": name, "email": "long@example.org", "password": "secret"}
    assert (await client.post("/register", json=form, headers=GZIP)).status_code == 200
    for reply in (
        await client.post("/login", json=form, headers=GZIP),
        await client.get("/healthz", headers=GZIP),
    ):
        assert reply.status_code == 200
        assert "content-encoding" not in reply.headers
    assert "POST" not in compression._METHODS


async def test_what_is_remembered_is_remembered_as_it_was_asked_for(database_url: str) -> None:
    async with client_of(database_url, cache_lease_seconds=0.6) as client:
        form = {"username": "ann", "email": "ann@example.org", "password": "secret"}
        await client.post("/register", json=form)
        me = {"Authorization": (await client.post("/login", json=form)).json()["token"]}
        await client.get("/auth/score", headers=me)
        await client.post("/auth/generate", json=ORDER | {"prompt": "sun " * 500}, headers=me)
        for asked, coding in ((PLAIN, None), (GZIP, "gzip"), (PLAIN, None)):
            await wait_until_cached(client, me | asked, IMAGES)
            before = await cache_hits(client)
            reply = await client.get(IMAGES, headers=me | asked)
            assert reply.headers.get("content-encoding") == coding
            assert len(reply.json()["images"]) == 1
            assert await cache_hits(client) >= before


@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [
        (200, [JSON], True),
        (200, [(b"content-type", b"text/csv; charset=utf-8")], True),
        (200, [(b"content-type", b"text/html; charset=utf-8")], True),
        (200, [(b"content-type", b"text/javascript")], True),
        (200, [(b"content-type", b"application/problem+json")], True),
        (200, [(b"content-type", b"text/event-stream; charset=utf-8")], False),
        (200, [(b"content-type", b"image/png")], False),
        (200, [], False),
        (200, [JSON, (b"content-encoding", b"br")], False),
        (200, [JSON, (b"cache-control", b"private, no-transform")], False),
        (206, [JSON], False),
        (304, [JSON], False),
        (404, [JSON], False),
    ],
)
def test_only_whole_texts_are_compressed(status: int, headers: Any, expected: bool) -> None:
    assert is_compressible(status, headers) is expected


def test_a_tag_of_other_bytes_is_weak() -> None:
    given = [(b"etag", b'"a"'), (b"content-length", b"900")]
    assert compressed_headers(given, 9) == [
        (b"etag", b'W/"a"'),
        (b"content-length", b"9"),
        (b"content-encoding", b"gzip"),
    ]
    assert compressed_headers([(b"etag", b'W/"a"')], None)[0] == (b"etag", b'W/"a"')


async def asked(method: str, body: bytes, *more: bytes) -> list[Any]:
    """All ASGI messages of a reply whose body has these parts."""
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [JSON, (b"content-length", b"%d" % (len(body) or 9000))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for number, part in enumerate((body, *more)):
            await send({"type": "http.response.body", "body": part, "more_body": number < len(more)})

    async def send(message: Any) -> None:
        sent.append(message)

    scope: Any = {"type": "http", "method": method, "path": "/", "headers": [(b"accept-encoding", b"gzip")]}
    await compress_responses(app)(scope, None, send)  # type: ignore[arg-type]
    return sent


async def test_a_head_has_the_headers_of_its_get() -> None:
    (of_get, _), (of_head, body) = await asked("GET", b"x" * 9000), await asked("HEAD", b"")
    assert dict(of_head["headers"])[b"content-encoding"] == b"gzip"
    assert {name for name, _ in of_get["headers"]} - {name for name, _ in of_head["headers"]} == {
        b"content-length"
    }
    assert body["body"] == b""


async def test_a_stream_of_parts_passes_through() -> None:
    start, *parts = await asked("GET", b"x" * 9000, b"y", b"z")
    assert b"content-encoding" not in dict(start["headers"])
    assert [part["body"] for part in parts] == [b"x" * 9000, b"y", b"z"]


async def test_long_replies_are_compressed_beside_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    loops: list[bool] = []

    def compress(body: bytes) -> bytes:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            loops.append(False)
        else:
            loops.append(True)
        return gzip.compress(body)

    monkeypatch.setattr(compression, "compress_gzip", compress)
    await asked("GET", b"x" * 2000)
    await asked("GET", b"x" * 200_000)
    assert loops == [True, False]
