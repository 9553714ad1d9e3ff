"""A server that is told to stop does not wait for those who follow a job: they go home at once."""

import asyncio
import signal
from collections.abc import Iterator

import httpx
import pytest
import uvicorn

from huajuan.bootstrap import open_desk
from huajuan.http.app import create_app
from huajuan.server.port import take_port
from tests.http.jobs import ask, following, next_of, someone
from tests.jobs.fake_host import FakeHost, opening
from tests.loopback import NO_TLS
from tests.services import WAIT_SECONDS_MAX, _settled, until

NEVER_SECONDS = 600


@pytest.fixture
def heard() -> Iterator[list[int]]:
    """uvicorn passes on, at its end, what it heard."""
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    yield heard
    signal.signal(signal.SIGTERM, before)


async def test_who_follows_is_sent_home_when_the_server_stops(database_url: str, heard: list[int]) -> None:
    host = FakeHost()
    host.gate.clear()
    with _settled(database_url, {}) as settings, take_port("127.0.0.1", 0) as listening:
        app = create_app(settings, lambda: open_desk(settings, opening(host)))
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
