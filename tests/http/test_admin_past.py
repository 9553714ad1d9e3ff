"""The profile and gallery of an account as of a position are those that the live service showed then."""

from typing import Any

import httpx
import pytest
import pytest_asyncio

from huajuan.audit.connection import AuditLimits
from tests.http.conftest import Person, body
from tests.http.past import Headers, Known, Life, head
from tests.http.test_admin import make_admin
from tests.jobs.fake_server import FakeInferenceServer
from tests.services import client_of

pytestmark = pytest.mark.asyncio(loop_scope="module")
ADDRESS = "http://pictures.example"
UNKNOWN = {"message": "用户不存在"}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def ada(person: Person, module_database_url: str) -> Headers:
    headers = await person("ada")
    await make_admin(module_database_url, "ada")
    return headers


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def life(
    client: httpx.AsyncClient,
    person: Person,
    host: FakeInferenceServer,
    ada: Headers,
    module_database_url: str,
) -> Life:
    life = Life(client, module_database_url, person, host)
    await life.live(ada)
    return life


async def asked(client: httpx.AsyncClient, ada: Headers, what: str, **query: Any) -> dict[str, Any]:
    reply = await client.get(f"/admin/users/pierre/{what}", params=query, headers=ada)
    assert reply.status_code == 200, reply.text
    assert reply.headers["cache-control"] == "no-store"
    return body(reply)


def wire(time: Any) -> str:
    return time.isoformat().replace("+00:00", "Z")  # type: ignore[no-any-return]


def moments(known: Known) -> list[Any]:
    return [known.position, wire(known.time)]


async def test_profiles_of_the_past(client: httpx.AsyncClient, ada: Headers, life: Life) -> None:
    assert len(life.known) == 20
    for known in life.known:
        for as_of in moments(known):
            told = await asked(client, ada, "profile", as_of=as_of)
            assert told["position"] == known.position
            then = told["profile"]
            assert {key: then[key] for key in known.user} == known.user
            assert (then["held"], then["images"]) == (known.held, len(known.images))
            assert (then["banned"], then["admin"], then["erased"]) == (False, False, False)
    then = [(await asked(client, ada, "profile", as_of=k.position))["profile"] for k in life.known[9:]]
    assert [one["likes"] for one in then] == [1, 1, 0, 1, 1, 1, 1, 1, 1, 1, 1]
    assert [one["favorites"] for one in then] == [0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 0]
    latest = (await asked(client, ada, "profile"))["profile"]
    assert (latest["likes"], latest["favorites"]) == (1, 0)
    assert "password" not in str(latest)


async def test_galleries_of_the_past(client: httpx.AsyncClient, ada: Headers, life: Life) -> None:
    for known in life.known:
        for as_of in moments(known):
            told = await asked(client, ada, "gallery", as_of=as_of)
            assert (told["position"], told["images"]) == (known.position, known.images)
    assert {len(known.images) for known in life.known} == {0, 1, 2}
    assert {image["likecount"] for known in life.known for image in known.images} == {0, 1, 2}


async def test_points_of_the_past(client: httpx.AsyncClient, ada: Headers, life: Life) -> None:
    for known in life.known:
        for as_of in moments(known):
            told = await asked(client, ada, "points", as_of=as_of)
            assert told["position"] == known.position
            totals = told["totals"]
            assert (totals["available"], totals["held"]) == (known.user["score"], known.held)
            assert sum(entry["change"] for entry in told["entries"]) == known.user["score"]
            assert totals["granted"] == sum(totals.values()) - totals["granted"]


async def test_a_position_in_the_middle_of_an_act_shows_what_is_held(
    client: httpx.AsyncClient, ada: Headers, life: Life
) -> None:
    held = life.known[1].position + 1
    assert (await asked(client, ada, "profile", as_of=held))["profile"]["held"] == 20
    assert (await asked(client, ada, "points", as_of=held))["entries"][-1]["what"] == "points_held"


async def test_there_was_nobody_before_the_registration(
    client: httpx.AsyncClient, ada: Headers, life: Life
) -> None:
    before = life.known[0].user["id"] - 1
    for what in ("profile", "gallery", "points"):
        for as_of in (0, before, "2001-01-01"):
            reply = await client.get(f"/admin/users/pierre/{what}?as_of={as_of}", headers=ada)
            assert (reply.status_code, body(reply)) == (404, UNKNOWN)


@pytest.mark.parametrize("what", ["profile", "gallery", "points", "timeline"])
async def test_nobody_is_404(client: httpx.AsyncClient, ada: Headers, what: str) -> None:
    for name in ("nobody", "00000000-0000-0000-0000-000000000001", "x" * 300):
        reply = await client.get(f"/admin/users/{name}/{what}", headers=ada)
        assert (reply.status_code, body(reply)) == (404, UNKNOWN)


@pytest.mark.parametrize("what", ["profile", "gallery", "points"])
@pytest.mark.parametrize(
    "as_of", ["tomorrow", "-1", "1.5", "2026-13-01", "99999999999", "9" * 30, "2026-11-24T00:00:00", "١"]
)
async def test_a_bad_moment_is_named(
    client: httpx.AsyncClient, ada: Headers, life: Life, what: str, as_of: str
) -> None:
    reply = await client.get(f"/admin/users/pierre/{what}", params={"as_of": as_of}, headers=ada)
    assert (reply.status_code, body(reply)) == (400, {"message": "查询参数无效", "error": "as_of"})


@pytest.mark.parametrize("what", ["gallery", "points", "timeline"])
@pytest.mark.parametrize("query", ["limit=0", "limit=x", "after=x", "after=LTE"])
async def test_a_bad_page_is_named(
    client: httpx.AsyncClient, ada: Headers, life: Life, what: str, query: str
) -> None:
    reply = await client.get(f"/admin/users/pierre/{what}?{query}", headers=ada)
    named = query.partition("=")[0]
    assert (reply.status_code, body(reply)) == (400, {"message": "查询参数无效", "error": named})


@pytest.mark.parametrize(
    ("what", "key", "most"), [("gallery", "images", 1), ("points", "entries", 3), ("timeline", "timeline", 7)]
)
async def test_pages_join_without_gap_or_overlap(
    client: httpx.AsyncClient, ada: Headers, life: Life, what: str, key: str, most: int
) -> None:
    as_of = {} if what == "timeline" else {"as_of": life.known[8].position}
    whole, pages = (await asked(client, ada, what, **as_of))[key], []
    url = str(httpx.URL(f"/admin/users/pierre/{what}", params={**as_of, "limit": most}))
    while url:
        reply = await client.get(url, headers=ada)
        assert len(body(reply)[key]) <= most
        pages += body(reply)[key]
        url = reply.links.get("next", {}).get("url", "").removeprefix(ADDRESS)
    assert pages == whole
    assert len(whole) > most


async def test_one_is_found_by_the_id_in_the_log_too(
    client: httpx.AsyncClient, ada: Headers, life: Life
) -> None:
    profile = await asked(client, ada, "profile")
    same = await client.get(f"/admin/users/{profile['profile']['account_id']}/profile", headers=ada)
    assert body(same) == profile


async def test_bans_roles_and_what_is_left_of_the_erased(
    client: httpx.AsyncClient, person: Person, ada: Headers, module_database_url: str
) -> None:
    me = await person("robespierre", checked_in=True)
    await client.post("/auth/setavatar", json={"url": "https://example.org/r.png"}, headers=me)
    path, marks = "/admin/users/robespierre", [head(module_database_url)]
    for act in ("ban", "unban"):
        await client.post(f"{path}/{act}", json={"reason": "x"}, headers=ada)
        marks.append(head(module_database_url))
    await make_admin(module_database_url, "robespierre")
    marks.append(head(module_database_url))
    query = {"username": "robespierre"}
    await client.delete("/auth/root/deleteOneUser", params=query, headers=ada)
    then = [body(await client.get(f"{path}/profile?as_of={mark}", headers=ada))["profile"] for mark in marks]
    now = body(await client.get(f"{path}/profile", headers=ada))["profile"]
    assert [one["banned"] for one in then] == [False, True, False, False]
    assert [one["admin"] for one in then] == [False, False, False, True]
    assert {(one["username"], one["email"], one["avatar_url"], one["score"]) for one in then} == {
        (None, None, None, 100)
    }
    assert [one["erased"] for one in then] == [False] * 4
    assert (now["erased"], now["score"], now["avatar_url"]) == (True, 0, "")
    assert body(await client.get(f"{path}/gallery", headers=ada))["images"] == []
    points = body(await client.get(f"{path}/points", headers=ada))
    assert (points["totals"]["forfeited"], points["agrees"]) == (100, True)


async def test_an_audit_that_takes_too_long_is_given_up(
    client: httpx.AsyncClient, ada: Headers, life: Life, module_database_url: str
) -> None:
    async with client_of(module_database_url, audit=AuditLimits(replay_seconds_max=0)) as hasty:
        for what in ("profile", "gallery", "points"):
            reply = await hasty.get(f"/admin/users/pierre/{what}", headers=ada)
            assert (reply.status_code, body(reply)) == (503, {"message": "服务繁忙，请稍后再试"})
            assert reply.headers["retry-after"]
    async with client_of(module_database_url, audit=AuditLimits(threads_max=1, waiting_max=-1)) as full:
        reply = await full.get("/admin/users/pierre/timeline", headers=ada)
        assert reply.status_code == 503
