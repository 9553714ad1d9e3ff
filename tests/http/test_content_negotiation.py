"""The `Accept` and `Prefer` headers, and CSV lines."""

import csv
import io
from typing import Any

import httpx
import pytest
from litestar import Request

from huajuan.http.content_negotiation import (
    ACCEPT_CHARACTERS_MAX,
    RESPOND_ASYNC,
    csv_line,
    names_type,
    preferred_type,
    prefers,
)
from tests.http.conftest import body
from tests.http.document import operations
from tests.services import client_of

KNOWN = [operation.path for operation in operations() if operation.method == "get"]
JSON, CSV, HTML = "application/json", "text/csv", "text/html"
CHOICES = {
    "": JSON,
    ",": JSON,
    ", ,;q=1": JSON,
    "*/*": JSON,
    "text/*": CSV,
    "TEXT/CSV": CSV,
    "text/csv": CSV,
    "text/csv; charset=utf-8": CSV,
    'text/csv;header="a, b;q=0"': CSV,
    'text/csv;x="\\"";q=0.5, application/json;q=0.4': CSV,
    "text/csv, application/json": CSV,
    "application/json, text/csv": JSON,
    "application/json;q=0.5, text/csv;q=0.5": JSON,
    "*/*, text/csv": CSV,
    "text/csv, */*": CSV,
    "text/csv;q=0.001, */*;q=0": CSV,
    "text/csv;q=0, */*": JSON,
    "application/json;q=0, */*": CSV,
    "application/json;q=0, text/csv;q=0": JSON,
    "*/*;q=0": JSON,
    "text/csv;q=1.000": CSV,
    "text/csv;q=1.": CSV,
    "text/csv ; Q=0.9 , application/json;q=0.8": CSV,
    "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8": JSON,
    "text/csv/x": JSON,
    "*/csv": JSON,
    "text": JSON,
    "文/字": JSON,
}
NO_QUALITY = [
    "1e400",
    "inf",
    "-inf",
    "nan",
    "-1",
    "-0.5",
    "1.001",
    "2",
    "10",
    "0x1",
    "1e0",
    "",
    "''",
    "1_0",
    "٠.٥",
    "0.1234",
    "+1",
]


def asking(*accept: str) -> Request[Any, Any, Any]:
    scope: Any = {"type": "http", "headers": [(b"accept", value.encode()) for value in accept]}
    return Request(scope)


@pytest.mark.parametrize("accept", CHOICES)
def test_what_the_client_likes_best_is_chosen(accept: str) -> None:
    assert preferred_type(asking(accept), JSON, CSV) == CHOICES[accept]


@pytest.mark.parametrize("quality", NO_QUALITY)
def test_a_kind_whose_quality_is_none_is_as_not_named(quality: str) -> None:
    assert preferred_type(asking(f"text/csv;q={quality}"), JSON, CSV) == JSON
    assert not names_type(asking(f"text/html;q={quality}"), HTML)


@pytest.mark.parametrize("filler", ["a/b,", '"\\\\', "text/csv;q=1,", ";"])
def test_what_is_longer_than_anybody_needs_is_as_not_sent(filler: str) -> None:
    long = "text/csv," + filler * (ACCEPT_CHARACTERS_MAX // len(filler) + 1)
    assert preferred_type(asking(long), JSON, CSV) == JSON
    assert preferred_type(asking(long, "text/csv"), JSON, CSV) == CSV


def test_several_headers_are_one() -> None:
    assert preferred_type(asking("application/json;q=0.1", "text/csv"), JSON, CSV) == CSV
    assert preferred_type(asking(), JSON, CSV) == JSON


@pytest.mark.parametrize(
    ("accept", "is_named"),
    {
        "text/html": True,
        "TEXT/HTML;q=0.1": True,
        "application/json, text/html;level=1": True,
        "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8": True,
        "text/html;q=0": False,
        "text/*": False,
        "*/*": False,
        "": False,
        "text/htmlx": False,
        'application/json;x="text/html"': False,
    }.items(),
)
def test_only_what_is_named_exactly_is_named(accept: str, is_named: bool) -> None:
    assert names_type(asking(accept), HTML) is is_named


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("accept", ["text/csv;q=1e400", "*/*;q=nan", ';;;,=,"', "application/json;q=-inf"])
async def test_no_accept_is_unplanned(client: httpx.AsyncClient, accept: str) -> None:
    for path in (*KNOWN, "/", "/docs", "/schema", "/schema/openapi.json", "/no-such-path"):
        if path.endswith("/events"):
            continue
        reply = await client.get(path.replace("{", "").replace("}", ""), headers={"Accept": accept})
        assert reply.status_code in {200, 401, 404}, path


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("path", ["/", "/docs"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_browser_is_sent_to_the_page(client: httpx.AsyncClient, path: str, method: str) -> None:
    browser = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    reply = await client.request(method, path, headers=browser)
    assert (reply.status_code, reply.headers["location"], reply.content) == (302, "/schema", b"")
    assert (reply.headers["cache-control"], reply.headers["vary"]) == ("no-store", "Accept, Origin")
    page = await client.get("/schema", headers=browser)
    assert page.headers["content-type"].startswith("text/html")


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("path", ["/", "/docs"])
@pytest.mark.parametrize("accept", ["*/*", "", "application/json", "text/html;q=0", "text/*"])
async def test_to_a_program_there_is_nothing(client: httpx.AsyncClient, path: str, accept: str) -> None:
    reply = await client.get(path, headers={"Accept": accept})
    assert (reply.status_code, body(reply)) == (404, {"message": "接口不存在"})
    assert (await client.head(path, headers={"Accept": accept})).status_code == 404
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        other = await client.request(method, path, headers={"Accept": "text/html"})
        assert (other.status_code, body(other)) == (404, {"message": "接口不存在"})


@pytest.mark.parametrize(
    ("public_url", "location"),
    {
        "https://pictures.example/scroll": "/scroll/schema",
        "https://pictures.example/a/b/": "/a/b/schema",
        "https://pictures.example/画": "/%E7%94%BB/schema",
        "https://pictures.example/%E7%94%BB": "/%E7%94%BB/schema",
    }.items(),
)
async def test_the_page_is_beneath_the_public_path(database_url: str, public_url: str, location: str) -> None:
    async with client_of(database_url, public_url=public_url) as client:
        reply = await client.get("/", headers={"Accept": "text/html"})
        assert (reply.status_code, reply.headers["location"]) == (302, location)


@pytest.mark.parametrize(
    "headers",
    [
        ["respond-async"], ["Respond-Async"], [" respond-async "], ["wait=10, respond-async"],
        ["respond-async;wait=10"], ["respond-async; a; b=\"c,d\", x"], ["a=\"b,c\", respond-async"],
        ["x", "respond-async"], ["respond-async=\"\""], [", ,respond-async,"], ["(broken), respond-async"],
    ],
)  # fmt: skip
def test_it_is_preferred(headers: list[str]) -> None:
    assert prefers(headers, RESPOND_ASYNC)


@pytest.mark.parametrize(
    "headers",
    [
        [], [""], ["respond"], ["respond-asynchronously"], ["x;respond-async"], ["a=respond-async"],
        ["a=\"x, respond-async, y\""], ["a=\"x\\\", respond-async\""], ["respond async"],
        ["x" * 500 + ",respond-async"],
    ],
)  # fmt: skip
def test_it_is_not_preferred(headers: list[str]) -> None:
    assert not prefers(headers, RESPOND_ASYNC)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1"])
def test_no_text_becomes_a_formula(text: str) -> None:
    (row,) = csv.reader(io.StringIO(csv_line([text]), newline=""))
    assert row == [f"'{text}"]


def test_everything_else_stays_as_it_is() -> None:
    cells = ["a,b", 'say "a"', "two\nlines", "画卷", "a=b", -20, None, ""]
    (row,) = csv.reader(io.StringIO(csv_line(cells), newline=""))
    assert row == ["a,b", 'say "a"', "two\nlines", "画卷", "a=b", "-20", "", ""]
    assert csv_line([1, 2]) == "1,2\r\n"
