"""The page of the OpenAPI document works without any other host."""

import asyncio
import hashlib
import json
import re
import shutil
from base64 import b64encode
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest

from huajuan.http.openapi.api_page import ASSETS, FILES, SWAGGER_UI
from tests.services import client_of

pytestmark = pytest.mark.asyncio(loop_scope="module")
SECONDS_MAX = 60
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--virtual-time-budget=10000"),
    *("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--enable-logging=stderr"),
]


class Page(HTMLParser):
    """The links of a page, and its inline scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.scripts, self._tag = [""], ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self._tag = tag
        self.addresses += [given[name] for name in ("src", "href") if name in given]

    def handle_data(self, data: str) -> None:
        if self._tag == "script" and data.strip():
            self.scripts.append(data)


async def page(client: httpx.AsyncClient) -> Page:
    reply = await client.get("/schema")
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    return Page(reply.text)


async def test_the_page_refers_to_nothing_elsewhere(client: httpx.AsyncClient) -> None:
    addresses = (await page(client)).addresses
    assert "data:," in addresses
    for address in set(addresses) - {"data:,"}:
        assert re.match(r"schema/\w", address)
        assert (await client.get(f"/{address}")).status_code == 200


async def test_with_a_slash_at_its_end_it_refers_to_the_same(client: httpx.AsyncClient) -> None:
    plain, slashed = (await client.get("/schema")).text, (await client.get("/schema/")).text
    assert slashed == plain.replace('"schema/', '"../schema/')
    assert slashed != plain


@pytest.mark.asyncio(loop_scope="function")
async def test_the_document_names_the_path_of_the_public_address(database_url: str) -> None:
    async with client_of(database_url, public_url="https://example.org/bäse//x/") as storage_subfolder:
        assert (await storage_subfolder.get("/schema/openapi.json")).json()["servers"] == [
            {"url": "/b%C3%A4se//x"}
        ]


async def test_the_browser_may_load_nothing_from_elsewhere(client: httpx.AsyncClient) -> None:
    shown = await page(client)
    policy = (await client.get("/schema")).headers["content-security-policy"]
    allowed = {word for rule in policy.split("; ") for word in rule.split()[1:]}
    digests = {
        f"'sha256-{b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in shown.scripts[1:]
    }
    assert len(digests) == 1
    assert allowed == {"'none'", "'self'", "'unsafe-inline'", "data:", "blob:"} | digests


@pytest.mark.parametrize("name", FILES)
async def test_its_files_are_kept_for_long(client: httpx.AsyncClient, name: str) -> None:
    reply = await client.get(f"/schema/{ASSETS}/{name}")
    assert reply.headers["content-type"].split(";")[0] == FILES[name]
    assert reply.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert reply.content == (SWAGGER_UI / name).read_bytes()


@pytest.mark.parametrize("path", ["nothing", "nothing.json", f"{ASSETS}/LICENSE", "swagger-ui-0/x"])
async def test_what_is_not_there_is_answered_as_everywhere(client: httpx.AsyncClient, path: str) -> None:
    reply = await client.get(f"/schema/{path}")
    assert reply.headers["content-type"] == "application/json"
    assert reply.json() == {"code": 404, "message": "接口不存在"}


async def test_the_document_is_json(client: httpx.AsyncClient) -> None:
    reply = await client.get("/schema/openapi.json")
    assert reply.headers["content-type"] == "application/json"
    assert reply.json()["openapi"].startswith("3.1")


async def test_the_installed_wheel_has_the_licence_of_swagger_ui() -> None:
    assert "Apache License" in (SWAGGER_UI / "LICENSE").read_text()


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on PATH")
async def test_a_browser_shows_every_route_and_asks_nobody_else(
    client: httpx.AsyncClient, tmp_path: Path
) -> None:
    asked = tmp_path / "asked.json"
    shown, told = await browse(
        f"{client.base_url}/schema", f"--user-data-dir={tmp_path}", f"--log-net-log={asked}"
    )
    routes = (await client.get("/schema/openapi.json")).json()["paths"]
    assert set(re.findall(r'data-path="([^"]+)"', shown)) == set(routes)
    assert {httpx.URL(address).host for address in asked_for(str(client.base_url), asked)} == {"127.0.0.1"}
    assert "Content Security Policy" not in told


async def browse(address: str, *options: str) -> tuple[str, str]:
    """The page after its scripts have run, and the messages of the browser."""
    process = await asyncio.create_subprocess_exec(
        str(CHROMIUM), *QUIET, *options, "--dump-dom", address,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        shown, told = await asyncio.wait_for(process.communicate(), SECONDS_MAX)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return shown.decode(), told.decode()


def asked_for(page: str, log: Path) -> set[str]:
    """Each URL that the page requested, without requests of the browser itself."""
    events = [event.get("params", {}) for event in json.loads(log.read_text())["events"]]
    return {event["url"] for event in events if event.get("initiator") == page}
