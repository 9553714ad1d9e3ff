"""Pictures as jobs: request them, look them up, and read their event streams."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import httpx
import pytest

from tests.http.conftest import ORDER, body
from tests.jobs.fake_server import FakeInferenceServer
from tests.services import WAIT_SECONDS_MAX, until

PATH = "/auth/generations"
ASYNC = {"Prefer": "respond-async"}
Headers = dict[str, str]
Job = dict[str, Any]


async def someone(client: httpx.AsyncClient, name: str = "ann", check_in: bool = True) -> Headers:
    """Registers an account and returns its request headers."""
    form = {"username": name, "email": f"{name}@example.org", "password": "secret"}
    await client.post("/register", json=form)
    who = {"Authorization": (await client.post("/login", json=form)).json()["token"]}
    if check_in:
        assert (await client.get("/auth/score", headers=who)).status_code == 200
    return who


async def ask(client: httpx.AsyncClient, who: Headers, **order: Any) -> Job:
    reply = await client.post("/auth/generate", json={**ORDER, **order}, headers=who | ASYNC)
    assert reply.status_code == 202, reply.text
    return body(reply)


async def look(client: httpx.AsyncClient, who: Headers, job: int) -> Job:
    reply = await client.get(f"{PATH}/{job}", headers=who)
    assert reply.status_code == 200, reply.text
    return body(reply)


async def listed(client: httpx.AsyncClient, who: Headers, **query: Any) -> list[Job]:
    found: list[Job] = body(await client.get(PATH, params=query, headers=who))["generations"]
    return found


async def cancel(client: httpx.AsyncClient, who: Headers, job: int) -> Job:
    reply = await client.delete(f"{PATH}/{job}", headers=who)
    assert reply.status_code == 200, reply.text
    return body(reply)


async def until_status(client: httpx.AsyncClient, who: Headers, job: int, *statuses: str) -> Job:
    async def there() -> bool:
        return (await look(client, who, job))["status"] in statuses

    await until(there)
    return await look(client, who, job)


async def points(client: httpx.AsyncClient, who: Headers) -> tuple[int, int]:
    """The balance and the held points."""
    found = body(await client.get("/auth/points", headers=who))
    return found["score"], found["held"]


class Frame(NamedTuple):
    """A comment has no event."""

    id: int | None
    event: str
    data: str


@asynccontextmanager
async def following(
    client: httpx.AsyncClient, who: Headers, job: int, last: object = None
) -> AsyncIterator[tuple[httpx.Response, AsyncIterator[Frame]]]:
    headers = who | ({"Last-Event-ID": str(last)} if last is not None else {})
    async with (
        asyncio.timeout(WAIT_SECONDS_MAX),
        client.stream("GET", f"{PATH}/{job}/events", headers=headers) as response,
    ):
        frames = _frames(response)
        yield response, frames
        await frames.aclose()  # type: ignore[attr-defined]


async def states_of(client: httpx.AsyncClient, who: Headers, job: int, last: object = None) -> list[Frame]:
    """All `state` frames until the job ends."""
    async with following(client, who, job, last) as (response, frames):
        assert response.status_code == 200
        return [frame async for frame in frames if frame.event == "state"]


async def next_of(frames: AsyncIterator[Frame], event: str) -> Frame:
    """The next frame of this kind."""
    async for frame in frames:
        if frame.event == event:
            return frame
    raise AssertionError(f"the stream ended before {event!r}")


async def _frames(response: httpx.Response) -> AsyncIterator[Frame]:
    fields: dict[str, str] = {}
    async for line in response.aiter_lines():
        if line:
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        elif fields:
            yield Frame(
                int(fields["id"]) if "id" in fields else None, fields.get("event", ""), fields.get("data", "")
            )
            fields = {}


@pytest.fixture(autouse=True)
def gate(host: FakeInferenceServer) -> Iterator[asyncio.Event]:
    """Holds back each drawing while it is closed; it opens at the end of the test."""
    yield host.gate
    host.gate.set()
