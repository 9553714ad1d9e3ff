"""Every `Link` and `Location` header is ASCII and leads to its page, for any path and query."""

import unicodedata
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import pytest_asyncio

from tests.http.conftest import ORDER, Person
from tests.http.odd_names import IN_A_SEGMENT, IN_NO_SEGMENT, registered_long_ago
from tests.http.past import Headers
from tests.http.test_admin import make_admin
from tests.http.test_urls import OF_ACCOUNTS, PAGED, followed
from tests.services import client_of

pytestmark = pytest.mark.asyncio(loop_scope="module")


PAINTER = "p\u00e0inter%30"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def painter(client: httpx.AsyncClient, person: Person, module_database_url: str) -> Headers:
    """An admin with an unusual name and two favorites; accounts with all unusual names exist."""
    await client.get("/user/all")
    await registered_long_ago(module_database_url, PAINTER, *IN_A_SEGMENT, *IN_NO_SEGMENT)
    await person("p\u00e0inter0")
    form = {"username": PAINTER, "password": "secret"}
    headers = {"Authorization": (await client.post("/login", json=form)).json()["token"]}
    await make_admin(module_database_url, PAINTER)
    assert (await client.get("/auth/score", headers=headers)).status_code == 200
    for seed in "12":
        order = ORDER | {"prompt": "日 +&%=#?\"'🎨 and %2B + 日", "seed": seed}
        drawn = (await client.post("/auth/generate", json=order, headers=headers)).json()
        form = {"url": drawn["image_url"]}
        assert (await client.post("/auth/addFavoritedImage", json=form, headers=headers)).status_code == 200
    return headers


async def pages_of(client: httpx.AsyncClient, path: str, rows: str, me: Headers) -> list[Any]:
    """All rows, from pages of one row."""
    found = []
    while path:
        reply = await client.get(path, headers=me)
        assert reply.status_code == 200, reply.text
        assert len(reply.json()[rows]) <= 1
        found += reply.json()[rows]
        path = followed(reply.headers["link"]) if "link" in reply.headers else ""
    return found


@pytest.mark.parametrize("path", [path for path in PAGED if "{" not in path])
async def test_links_lead_through_a_list(client: httpx.AsyncClient, painter: Headers, path: str) -> None:
    rows, given = PAGED[path]
    whole = (await client.get(path, params=given, headers=painter)).json()[rows]
    assert len(whole) > 1
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in given.items())
    assert await pages_of(client, f"{path}?limit=1&{query}", rows, painter) == whole


async def test_a_name_in_a_query_is_found_in_any_spelling(
    client: httpx.AsyncClient, painter: Headers
) -> None:
    for name in (PAINTER, unicodedata.normalize("NFD", PAINTER)):
        reply = await client.get("/auth/image", params={"username": name}, headers=painter)
        assert reply.json()["image"]["username"] == PAINTER


@pytest.mark.parametrize("what", OF_ACCOUNTS)
@pytest.mark.parametrize("name", [PAINTER, *IN_A_SEGMENT])
async def test_links_stay_at_one_account(
    client: httpx.AsyncClient, painter: Headers, name: str, what: str
) -> None:
    """A link does not lead to an account with a similar name, such as `czh0`."""
    rows = OF_ACCOUNTS[what]
    path = f"/admin/users/{quote(name, safe='')}/{what}"
    await client.post(path.replace(what, "points"), json={"change": 1, "reason": "more"}, headers=painter)
    whole = (await client.get(path, headers=painter)).json()[rows]
    assert len(whole) > 1 or what == "gallery"
    assert await pages_of(client, f"{path}?limit=1", rows, painter) == whole


@pytest.mark.parametrize("what", OF_ACCOUNTS)
@pytest.mark.parametrize("name", [PAINTER, *IN_NO_SEGMENT])
async def test_links_stay_at_one_id(
    client: httpx.AsyncClient, painter: Headers, name: str, what: str
) -> None:
    rows, users = OF_ACCOUNTS[what], (await client.get("/user/all")).json()["users"]
    number = next(user["id"] for user in users if user["username"] == name)
    path = f"/admin/users/id/{number}"
    await client.post(f"{path}/points", json={"change": 1, "reason": "more"}, headers=painter)
    profile = (await client.get(f"{path}/profile", headers=painter)).json()["profile"]
    assert (profile["id"], profile["username"]) == (number, name)
    whole = (await client.get(f"{path}/{what}", headers=painter)).json()[rows]
    assert await pages_of(client, f"{path}/{what}?limit=1", rows, painter) == whole


@pytest.mark.parametrize("prefix", ["", "/scroll", "/画/api"])
async def test_headers_know_the_path_that_a_proxy_takes_away(database_url: str, prefix: str) -> None:
    async with client_of(database_url, public_url=f"https://scroll.example{prefix}") as client:
        form = {"username": "ann", "email": "ann@example.org", "password": "secret"}
        await client.post("/register", json=form)
        me = {"Authorization": (await client.post("/login", json=form)).json()["token"]}
        await client.get("/auth/score", headers=me)
        asked = {"Prefer": "respond-async", "Idempotency-Key": "one", **me}
        told = [await client.post("/auth/generate", json=ORDER, headers=asked) for _ in range(2)]
        job = told[0].json()["id"]
        assert [reply.headers["location"] for reply in told] == [
            quote(f"{prefix}/auth/generations/{job}")
        ] * 2
        assert told[1].headers["idempotency-replayed"] == "true"
        await client.post("/register", json={**form, "username": "ben", "email": "ben@example.org"})
        link = (await client.get("/user/all?limit=1")).headers["link"]
        assert link.startswith(f"<https://scroll.example{quote(prefix)}/user/all?")
