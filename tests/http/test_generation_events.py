"""Server-sent events of a job: each state once and in order, from any position, until the job ends."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import msgspec
import psycopg
import pytest
import uvicorn

from huajuan.bootstrap import open_services
from huajuan.http.app import create_app
from huajuan.http.sse_hub import StreamLimits
from huajuan.inference_client import DrawingFailed
from huajuan.jobs.queue import JobQueue, QueuePosition
from huajuan.server.uvicorn_runner import bind_listener
from tests.http.conftest import Person, body
from tests.http.jobs import (
    PATH,
    Frame,
    Headers,
    ask,
    cancel,
    following,
    gate,
    look,
    next_of,
    someone,
    states_of,
    until_status,
)
from tests.http.test_admin import make_admin
from tests.jobs.fake_server import FakeInferenceServer, opening
from tests.loopback import NO_TLS
from tests.services import WAIT_SECONDS_MAX, _settled, client_of, until

__all__ = ["gate"]
pytestmark = pytest.mark.asyncio(loop_scope="module")
QUICK = StreamLimits(look_seconds=0.05)


def statuses(frames: list[Frame]) -> list[str]:
    return [json.loads(frame.data)["status"] for frame in frames]


async def test_a_job_is_followed_to_its_end(
    client: httpx.AsyncClient, person: Person, host: FakeInferenceServer, module_database_url: str
) -> None:
    ann = await person(checked_in=True)
    host.gate.clear()
    job = (await ask(client, ann))["id"]
    async with following(client, ann, job) as (response, frames):
        assert response.headers["content-type"].partition(";")[0] == "text/event-stream"
        assert (response.headers["cache-control"], response.headers["x-accel-buffering"]) == (
            "no-store",
            "no",
        )
        told = [await next_of(frames, "state"), await next_of(frames, "state")]
        host.gate.set()
        told += [frame async for frame in frames if frame.event == "state"]
    assert statuses(told) == ["queued", "running", "succeeded"]
    with psycopg.connect(module_database_url) as connection:
        query = (
            "SELECT notification_id, topic FROM log.huajuan_events WHERE notification_id = ANY(%s) ORDER BY 1"
        )
        topics = connection.execute(query, [[frame.id for frame in told]]).fetchall()
    expected = ["image.requested", "image.started", "image.drawn"]
    assert topics == list(zip((frame.id for frame in told), expected, strict=True))
    shown = await look(client, ann, job)
    shown.pop("message")
    assert json.loads(told[-1].data) == shown
    assert shown["image_url"]


async def test_what_the_end_promises_is_there(client: httpx.AsyncClient, person: Person) -> None:
    ann = await person(checked_in=True)
    for _ in range(3):
        (*_, end) = await states_of(client, ann, (await ask(client, ann))["id"])
        images = body(await client.get("/auth/user/images", headers=ann))["images"]
        assert json.loads(end.data)["image_id"] in [image["id"] for image in images]
        assert body(await client.get("/auth/points", headers=ann))["held"] == 0


@pytest.mark.parametrize("outcome", ["succeeded", "failed", "cancelled"])
async def test_one_goes_on_behind_any_frame_and_misses_nothing_and_sees_nothing_twice(
    client: httpx.AsyncClient, person: Person, host: FakeInferenceServer, outcome: str
) -> None:
    ann = await person(checked_in=True)
    host.gate.clear()
    host.failures = [DrawingFailed("out of memory")] if outcome == "failed" else []
    job = (await ask(client, ann))["id"]
    await until_status(client, ann, job, "running")
    if outcome == "cancelled":
        await cancel(client, ann, job)
    host.gate.set()
    whole = await states_of(client, ann, job)
    assert statuses(whole) == ["queued", "running", outcome]
    for n, frame in enumerate(whole[:-1], 1):
        assert await states_of(client, ann, job, frame.id) == whole[n:]
    assert await states_of(client, ann, job, job - 1) == whole
    for bad in ("", "abc", "-1", "1.5", "9" * 30, str(2**63 - 1)):
        assert await states_of(client, ann, job, bad) == whole
    for last in (whole[-1].id,):
        async with following(client, ann, job, last) as (response, _):
            assert response.status_code == 204


async def test_one_stream_after_another_tells_the_whole_story(
    client: httpx.AsyncClient, person: Person, host: FakeInferenceServer
) -> None:
    ann = await person(checked_in=True)
    host.gate.clear()
    job = (await ask(client, ann))["id"]
    told: list[Frame] = []
    for _ in range(2):
        async with following(client, ann, job, told[-1].id if told else None) as (_, frames):
            told.append(await next_of(frames, "state"))
    host.gate.set()
    told += await states_of(client, ann, job, told[-1].id)
    assert statuses(told) == ["queued", "running", "succeeded"]


async def test_a_job_asked_for_here_is_followed_there_and_after_a_restart(database_url: str) -> None:
    host, other = FakeInferenceServer(), FakeInferenceServer()
    other.gate = host.gate
    async with client_of(database_url, other, streams=QUICK) as there:
        async with client_of(database_url, host, streams=QUICK) as here:
            ann = await someone(here)
            first, second = [(await ask(here, ann))["id"] for _ in range(2)]
            await until_status(here, ann, second, "succeeded")
            whole = await states_of(here, ann, first)
            assert await states_of(there, ann, first) == whole
            host.gate.clear()
            job = (await ask(here, ann))["id"]
            async with following(there, ann, job) as (_, frames):
                told = [await next_of(frames, "state"), await next_of(frames, "state")]
                await cancel(here, ann, job)
                told += [frame async for frame in frames if frame.event == "state"]
        assert statuses(told) == ["queued", "running", "cancelled"]
        assert await states_of(there, ann, job, told[0].id) == told[1:]
    async with client_of(database_url, FakeInferenceServer()) as again:
        assert await states_of(again, ann, job, told[0].id) == told[1:]


@asynccontextmanager
async def _one_running(
    dsn: str, connections_max: int = 8, **limits: float
) -> AsyncIterator[tuple[httpx.AsyncClient, Headers, int, FakeInferenceServer]]:
    """A separate service with one job, which runs while the gate is closed."""
    host = FakeInferenceServer()
    host.gate.clear()
    streams = msgspec.structs.replace(QUICK, **limits)
    async with client_of(dsn, host, streams=streams, connections_max=connections_max) as client:
        ann = await someone(client)
        job = (await ask(client, ann))["id"]
        await until_status(client, ann, job, "running")
        yield client, ann, job, host
        host.gate.set()


async def test_progress_is_told_when_it_changed(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    progress = iter([0.1, 0.1, 0.1, 0.6])

    async def place(*_: object) -> QueuePosition:
        return QueuePosition(0, True, next(progress, 0.6), 1)

    async with _one_running(database_url, heartbeat_seconds=0) as (client, ann, job, host):
        monkeypatch.setattr(JobQueue, "position", place)
        async with following(client, ann, job) as (_, frames):
            told = [await next_of(frames, "progress"), await next_of(frames, "progress")]
            await next_of(frames, "")
            host.gate.set()
            rest = [frame async for frame in frames if frame.event]
    assert [(frame.id, json.loads(frame.data)["progress"]) for frame in told] == [(None, 0.1), (None, 0.6)]
    assert [frame.event for frame in rest] == ["state"]


async def test_a_heart_beats_while_nothing_happens(database_url: str) -> None:
    async with (
        _one_running(database_url, heartbeat_seconds=0.1) as (client, ann, job, _),
        following(client, ann, job) as (_, frames),
    ):
        assert [await next_of(frames, "") for _ in range(3)] == [Frame(None, "", "")] * 3


async def test_streams_are_bounded_and_their_places_come_back(database_url: str) -> None:
    async with _one_running(database_url, open_max=2, account_open_max=1) as (client, ann, job, host):
        others = [await someone(client, name) for name in ("ben", "cam")]
        jobs = [(await ask(client, who))["id"] for who in others]
        async with following(client, ann, job) as (response, _):
            assert response.status_code == 200
            refused = await client.get(f"{PATH}/{job}/events", headers=ann)
            assert (refused.status_code, body(refused)) == (429, {"message": "请求过于频繁，请稍后再试"})
            assert refused.headers["retry-after"]
            async with following(client, others[0], jobs[0]) as (response, _):
                assert response.status_code == 200
                assert (await client.get(f"{PATH}/{jobs[1]}/events", headers=others[1])).status_code == 429

        async def has_room() -> bool:
            async with following(client, ann, job) as (response, _):
                return response.status_code == 200

        for _ in range(3):
            await until(has_room)
        host.gate.set()
        assert statuses(await states_of(client, others[1], jobs[1]))[-1] == "succeeded"


async def test_who_follows_holds_no_connection(database_url: str) -> None:
    async with _one_running(database_url, 2) as (client, ann, job, host), AsyncExitStack() as open_streams:
        for _ in range(6):
            _, frames = await open_streams.enter_async_context(following(client, ann, job))
            await next_of(frames, "progress")
        assert (await look(client, ann, job))["status"] == "running"
        host.gate.set()


@pytest.mark.parametrize("way", ["logged out", "new password", "erased", "banned"])
async def test_nobody_listens_with_a_token_that_is_worth_nothing(database_url: str, way: str) -> None:
    async with (
        _one_running(database_url) as (client, ann, job, _),
        following(client, ann, job) as (_, frames),
    ):
        await next_of(frames, "progress")
        if way == "logged out":
            await client.post("/auth/logout", headers=ann)
        elif way == "banned":
            root = await someone(client, "root")
            await make_admin(database_url, "root")
            await client.post("/admin/users/ann/ban", json={"reason": "spam"}, headers=root)
        elif way == "erased":
            await client.delete("/auth/root/deleteOneUser?isOwn=true", headers=ann)
        else:
            await client.put("/auth/user/update", json={"password": "another"}, headers=ann)
        assert [frame async for frame in frames if frame.event == "state"] == []


async def test_a_token_is_needed(client: httpx.AsyncClient) -> None:
    reply = await client.get(f"{PATH}/1/events")
    assert (reply.status_code, body(reply)) == (401, {"message": "请求头中缺少Token"})


NEVER_SECONDS = 600


@pytest.fixture
def heard() -> Iterator[list[int]]:
    """Signals that uvicorn received and raised again at its end."""
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    yield heard
    signal.signal(signal.SIGTERM, before)


async def test_who_follows_is_sent_home_when_the_server_stops(database_url: str, heard: list[int]) -> None:
    host = FakeInferenceServer()
    host.gate.clear()
    with _settled(database_url, {}) as (settings, _), bind_listener("127.0.0.1", 0) as listening:
        app = create_app(settings, lambda: open_services(settings, opening(host)))
        config = uvicorn.Config(
            app, log_config=None, access_log=False, lifespan="on", timeout_graceful_shutdown=NEVER_SECONDS
        )
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve(sockets=[listening]))
        while not server.started:
            await asyncio.sleep(0.005)
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{listening.getsockname()[1]}", verify=NO_TLS
        ) as client:
            ann = await someone(client)
            asked = (await ask(client, ann))["id"]
            await until(lambda: bool(host.drawn))
            async with following(client, ann, asked) as (_, frames):
                await next_of(frames, "progress")
                signal.raise_signal(signal.SIGTERM)
                assert [frame async for frame in frames if frame.event == "state"] == []
            async with asyncio.timeout(WAIT_SECONDS_MAX):
                await task
    assert heard == [signal.SIGTERM]
