"""HEAD on every GET route: the same status and headers, no body, no effect."""

import httpx
import pytest

from huajuan.http.sse_hub import StreamLimits
from tests.http.conftest import Person
from tests.http.document import document
from tests.http.jobs import PATH, ask, someone
from tests.jobs.fake_server import FakeInferenceServer
from tests.services import client_of

pytestmark = pytest.mark.asyncio(loop_scope="module")
WRITES = "/auth/score"
# Headers that differ between two replies.
OF_ITS_MOMENT = {"date", "x-request-id", "content-length"}
GETS = sorted(path for path, methods in document()["paths"].items() if "get" in methods and path != WRITES)


@pytest.mark.parametrize("path", [*GETS, "/schema/openapi.json"])
async def test_each_get_route_answers_head_with_its_headers(
    client: httpx.AsyncClient, person: Person, path: str
) -> None:
    headers = await person(checked_in=True)
    where = path.format(**dict.fromkeys(("key", "generation", "username", "name", "id"), "1"))
    got = await client.get(where, headers=headers)
    head = await client.head(where, headers=headers)
    assert (head.status_code, head.content) == (got.status_code, b"")
    assert head.status_code != 405
    assert set(head.headers) >= set(got.headers) - {"transfer-encoding"}
    same = set(got.headers) - OF_ITS_MOMENT - {"transfer-encoding"}
    assert {name: head.headers[name] for name in same} == {name: got.headers[name] for name in same}


@pytest.mark.parametrize("path", [WRITES, "/auth/score/", "//auth/score", "/auth//score", "/auth/./score/"])
async def test_head_never_checks_in(client: httpx.AsyncClient, person: Person, path: str) -> None:
    headers = await person()
    reply = await client.head(f"{str(client.base_url).rstrip('/')}{path}", headers=headers)
    assert reply.status_code in {404, 405}
    reply = await client.head(WRITES, headers=headers)
    assert (reply.status_code, reply.content) == (405, b"")
    assert (await client.get("/auth/points", headers=headers)).json()["score"] == 0


@pytest.mark.parametrize(
    ("path", "status"), [("/no/such/path", 404), ("/register", 405), ("/auth/like", 405)]
)
async def test_head_of_other_paths(client: httpx.AsyncClient, path: str, status: int) -> None:
    reply = await client.head(path)
    assert (reply.status_code, reply.content) == (status, b"")


@pytest.mark.asyncio(loop_scope="function")
async def test_head_of_an_event_stream_opens_none(database_url: str) -> None:
    slow = FakeInferenceServer()
    slow.gate.clear()
    async with client_of(database_url, slow, streams=StreamLimits(account_open_max=1)) as client:
        ann = await someone(client)
        events = f"{PATH}/{(await ask(client, ann))['id']}/events"
        for _ in range(3):
            reply = await client.head(events, headers=ann)
            assert (reply.status_code, reply.content) == (200, b"")
            assert reply.headers["content-type"].startswith("text/event-stream")
        async with client.stream("GET", events, headers=ann) as stream:
            assert stream.status_code == 200, "the only stream allowed is free"
        slow.gate.set()


async def test_a_405_names_head_where_it_works(client: httpx.AsyncClient) -> None:
    for path, has_head in (("/healthz", True), ("/auth/score", False)):
        allowed = (await client.put(path)).headers["allow"].split(", ")
        assert ("GET" in allowed, "HEAD" in allowed) == (True, has_head)


@pytest.mark.parametrize("path", ["//images/{key}", "/images//{key}", "/images/{key}/"])
async def test_slashes_that_the_router_ignores_change_no_headers(
    client: httpx.AsyncClient, path: str
) -> None:
    where = str(client.base_url).rstrip("/") + path.format(key=f"{'a' * 32}.png")
    reply = await client.get(where, headers={"Origin": "http://evil.example"})
    assert (reply.status_code, reply.headers["access-control-allow-origin"]) == (404, "*")


async def test_head_is_counted_and_logged_as_head(client: httpx.AsyncClient) -> None:
    await client.head("/healthz")
    told = (await client.get("/metrics")).text
    assert 'method="HEAD",route="/healthz",status="200"' in told
