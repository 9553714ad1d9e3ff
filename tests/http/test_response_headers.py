"""Headers of every response: no type sniffing, no caching of private data."""

import httpx
import pytest

from tests.http.conftest import ORDER, Person

pytestmark = pytest.mark.asyncio(loop_scope="module")
PUBLIC = {"/schema": "no-cache", "/schema/openapi.json": "no-cache"}
TOLD = "no-store"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/healthz"),
        ("GET", "/readyz"),
        ("GET", "/metrics"),
        ("GET", "/schema"),
        ("GET", "/schema/openapi.json"),
        ("GET", "/schema/nothing"),
        ("GET", "/nothing"),
        ("DELETE", "/healthz"),
        ("OPTIONS", "/healthz"),
        ("GET", "/images/nothing.png"),
        ("GET", "/avatars/nothing.png"),
        ("GET", "/user/all"),
        ("GET", "/image/all"),
        ("GET", "/image/all?sort=nonsense"),
        ("GET", "/auth/user/info"),
        ("GET", "/admin/projections"),
        ("POST", "/register"),
        ("POST", "/login"),
        ("POST", "/auth/generate"),
    ],
)
async def test_of_everybody(client: httpx.AsyncClient, method: str, path: str) -> None:
    reply = await client.request(method, path)
    assert reply.headers.get_list("x-content-type-options") == ["nosniff"]
    assert reply.headers.get_list("cache-control") == [PUBLIC.get(path, TOLD)]


async def test_what_depends_on_a_token_is_stored_nowhere(client: httpx.AsyncClient, person: Person) -> None:
    me = await person(checked_in=True)
    made = await client.post("/auth/generate", json=ORDER, headers=me)
    form = {"username": "holder", "email": "holder@example.org", "password": "secret"}
    replies = [made, await client.post("/register", json=form), await client.post("/login", json=form)]
    job = (await client.get("/auth/generations", headers=me)).json()["generations"][0]["id"]
    paths = (
        "/auth/user/info",
        "/auth/user/images",
        "/auth/user/favoritedimages",
        "/auth/score",
        "/auth/points",
        "/auth/points/history?format=csv",
        "/auth/generations",
        f"/auth/generations/{job}",
        f"/auth/generations/{job}/events",
        "/auth/imageSquare",
        "/auth/getavatar",
    )
    replies += [await client.get(path, headers=me) for path in paths]
    for reply in replies:
        assert (reply.headers.get_list("cache-control"), reply.url) == ([TOLD], reply.url)
        assert reply.headers.get_list("x-content-type-options") == ["nosniff"]


async def test_pictures_may_be_kept(client: httpx.AsyncClient, person: Person) -> None:
    made = (await client.post("/auth/generate", json=ORDER, headers=await person(checked_in=True))).json()
    path = made["image_url"].removeprefix("http://pictures.example")
    whole = await client.get(path)
    parts = [
        whole,
        await client.head(path),
        await client.get(path, headers={"Range": "bytes=0-3"}),
        await client.get(path, headers={"If-None-Match": whole.headers["etag"]}),
    ]
    assert [part.status_code for part in parts] == [200, 200, 206, 304]
    for part in parts:
        assert part.headers.get_list("cache-control") == ["public, max-age=300"]
        assert part.headers.get_list("x-content-type-options") == ["nosniff"]


async def test_a_repeated_reply_has_each_header_once(client: httpx.AsyncClient, person: Person) -> None:
    headers = await person(checked_in=True) | {"Idempotency-Key": "once"}
    for _ in range(2):
        reply = await client.post("/auth/generate", json=ORDER, headers=headers)
        assert reply.headers.get_list("cache-control") == [TOLD]
        assert reply.headers.get_list("x-content-type-options") == ["nosniff"]
    assert reply.headers["idempotency-replayed"] == "true"


async def test_the_page_of_the_document_stands_alone(client: httpx.AsyncClient) -> None:
    page = await client.get("/schema")
    policy = page.headers["content-security-policy"]
    for rule in ("default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"):
        assert rule in policy.split("; ")
    assert page.headers["x-frame-options"] == "DENY"
    assert page.headers["referrer-policy"] == "no-referrer"
    assert "http-equiv" not in page.text
    document = await client.get("/schema/openapi.json")
    assert "content-security-policy" not in document.headers
