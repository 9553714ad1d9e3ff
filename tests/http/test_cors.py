"""What pages of other origins may send and read: whatever the API reads and tells, and known origins alone."""

import re
from pathlib import Path

import httpx
import pytest

import huajuan.http
from huajuan.http import cors
from tests.http.document import document

MODULE = pytest.mark.asyncio(loop_scope="module")
KNOWN, UNKNOWN = {"Origin": "http://localhost:8081"}, {"Origin": "http://evil.example"}
ASKING = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
# Of these no browser asks first.
ANYBODY_SENDS, ANYBODY_READS = {"accept"}, {"cache-control"}
SOURCES = [
    file.read_text("utf-8")
    for file in Path(huajuan.http.__file__).parent.glob("*.py")
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
