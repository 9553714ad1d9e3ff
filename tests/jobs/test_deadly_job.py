"""A job that kills each server process that draws it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import msgspec

from tests.commands.people import a_person
from tests.demo_comfyui.test_process import Process
from tests.jobs.outcome import BRISK, IMPATIENT, asked, outcome
from tests.loopback import NO_TLS
from tests.services import services_with_servers

OPTIONS = ("--step-seconds", "0.5")
TWICE = msgspec.structs.replace(BRISK, attempts_max=2)


class Mortal:
    """A server process that is killed and restarted whenever it draws, while `is_deadly`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process = Process(folder, *OPTIONS)
        self.url = self._process.url
        self.deaths = 0
        self.is_deadly = True
        self.is_over = False

    async def live(self) -> None:
        async with httpx.AsyncClient(base_url=self.url, timeout=5, verify=NO_TLS) as http:
            while not self.is_over:
                with suppress(httpx.HTTPError):
                    if self.is_deadly and (await http.get("/queue")).json()["queue_running"]:
                        await self._die()
                await asyncio.sleep(0.02)

    async def _die(self) -> None:
        self.deaths += 1
        await asyncio.to_thread(self._process.close)
        port = str(urlsplit(self.url).port)
        self._process = await asyncio.to_thread(Process, self._folder, *OPTIONS, "--port", port)

    def close(self) -> None:
        self._process.close()


@asynccontextmanager
async def mortals(folder: Path, count: int) -> AsyncIterator[list[Mortal]]:
    made = [Mortal(folder) for _ in range(count)]
    lives = [asyncio.create_task(mortal.live()) for mortal in made]
    try:
        yield made
    finally:
        for mortal in made:
            mortal.is_over = True
        await asyncio.gather(*lives)
        for mortal in made:
            mortal.close()


async def test_a_deadly_job_kills_at_most_n_servers_and_the_next_job_is_drawn(
    database_url: str, tmp_path: Path
) -> None:
    async with (
        mortals(tmp_path, 2) as (one, other),
        services_with_servers(
            database_url, one.url, other.url, dispatch=TWICE, painter=IMPATIENT
        ) as services,
    ):
        ann, ben = await a_person(services, check_ins=1), await a_person(services, "ben", check_ins=1)
        ended = await outcome(services, ann, await asked(services, ann))
        assert (ended.topic, ended.attempts) == ("image.drawing_failed", 2)
        assert one.deaths + other.deaths <= 2
        one.is_deadly = other.is_deadly = False
        assert (await outcome(services, ben, await asked(services, ben))).topic == "image.drawn"
