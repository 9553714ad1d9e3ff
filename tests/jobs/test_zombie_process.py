"""A suspended process that lost its leases continues: the first recorded outcome stays."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from huajuan.domain.image import ImageParameters
from huajuan.jobs.dispatcher import Dispatcher
from tests.commands.people import a_person
from tests.inference_client.conftest import FAST
from tests.jobs.conftest import Pair
from tests.jobs.outcome import BRISK, asked, held_back, outcome, rows
from tests.services import services_with_servers, until

# It does not renew its leases, so that they expire while it holds them.
STANDS_STILL = msgspec.structs.replace(BRISK, lease_seconds=0.3, heartbeat_seconds=3600)
LONG = ImageParameters("moon over a lake", 48, 48, 10, "DDIM", "7")
_HOLDER = "SELECT holder FROM operations.job_leases"


@pytest.mark.parametrize("hears", [True, False], ids=["notified", "polling"])
async def test_the_job_is_drawn_once_and_recorded_once(
    database_url: str, pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hears: bool
) -> None:
    if not hears:
        monkeypatch.setattr(Dispatcher, Dispatcher.on_notification.__name__, lambda *_: None)
    url = pair[0].url
    pair[0].slow_down(0.15)
    both: dict[str, Any] = {"painter": FAST, "storage_url": str(tmp_path)}
    async with (
        services_with_servers(database_url, url, dispatch=STANDS_STILL, **both) as old,
        services_with_servers(database_url, url, dispatch=BRISK, **both) as new,
    ):
        async with held_back(new, url):
            ann = await a_person(old, check_ins=1)
            image_id = await asked(old, ann, LONG)
            await until(lambda: pair[0].demo.jobs.running is not None)
            holder = await rows(old, _HOLDER)
        async with held_back(old, url):

            async def is_taken_over() -> bool:
                return await rows(old, _HOLDER) not in (holder, [])

            await until(is_taken_over)
            await until(lambda: image_id in new.job_runner._jobs)
            assert image_id in old.job_runner._jobs  # it does not know of the takeover
            assert (await outcome(new, ann, image_id)).topic == "image.drawn"
            await until(lambda: not old.job_runner._jobs and not new.job_runner._jobs)
            await asyncio.gather(
                *old.job_runner._background.tasks, *new.job_runner._background.tasks, return_exceptions=True
            )
            assert (await outcome(old, ann, image_id, pictures=None)).topic == "image.drawn"
            assert pair[0].demo.jobs.runs[str(image_id)] == 1
