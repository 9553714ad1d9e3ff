"""Stored pictures agree with the log: the first one stored stays, and files without an event are removed."""

import asyncio
import hashlib
import io
import itertools
import os
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from PIL import Image as Picture

from huajuan.http.services import Services
from huajuan.inference_client import Drawing, DrawingFailed, Drawn
from huajuan.inference_client.client import OnAccepted
from huajuan.inference_client.results import OnProgress
from huajuan.jobs.outcomes import PictureNotStored, store_first_picture
from huajuan.storage.pictures import Pictures, picture_key
from tests.commands.people import a_person, account_of
from tests.http.keys import shut
from tests.jobs.fake_server import FakeInferenceServer
from tests.jobs.outcome import BRISK, SMALL, asked, files, image_of, outcome
from tests.services import services_on, until

# It does not renew its leases, so that they expire while it holds them.
STANDS_STILL = msgspec.structs.replace(BRISK, lease_seconds=0.3, heartbeat_seconds=3600)
_shades = itertools.count(1)


def a_picture(width: int = SMALL.width, height: int = SMALL.height) -> bytes:
    """A valid picture with random pixels."""
    made = io.BytesIO()
    Picture.new("RGB", (width, height), (next(_shades), 0, 0)).save(made, "PNG")
    return made.getvalue()


class Moody(FakeInferenceServer):
    """Draws different pixels each time."""

    async def draw(
        self,
        drawing: Drawing,
        on_progress: OnProgress | None = None,
        on_accepted: OnAccepted | None = None,
    ) -> Drawn:
        drawn = await super().draw(drawing, on_progress, on_accepted)
        return msgspec.structs.replace(drawn, content=a_picture())


def is_ending(services: Services) -> bool:
    """Whether the end of a running job is about to be recorded."""
    return any(job.is_ending for job in services.job_runner._jobs.values())


async def as_on_record(services: Services, image_id: UUID) -> bool:
    image, stored = (
        await image_of(services, image_id),
        await services.job_runner.pictures.whole(picture_key(image_id)),
    )
    return image.digest == hashlib.sha256(stored).hexdigest()


def standing_before_the_store(services: Services) -> asyncio.Event:
    """Holds back the storage of the picture until the event is set."""
    may_go_on, really = asyncio.Event(), services.job_runner.pictures.put_if_absent

    async def put_if_absent(image_id: UUID, picture: bytes) -> bool:
        await may_go_on.wait()
        return await really(image_id, picture)

    services.job_runner.pictures.put_if_absent = put_if_absent  # type: ignore[method-assign]
    return may_go_on


async def test_a_process_without_a_lease_does_not_overwrite_the_picture(
    database_url: str, tmp_path: Path
) -> None:
    both: dict[str, Any] = {"storage_url": str(tmp_path)}
    async with services_on(database_url, Moody(), dispatch=STANDS_STILL, **both) as loser:
        may_go_on = standing_before_the_store(loser)
        ann = await a_person(loser, check_ins=1)
        image_id = await asked(loser, ann)
        await until(lambda: any(job.is_ending for job in loser.job_runner._jobs.values()))
        async with services_on(database_url, Moody(), dispatch=BRISK, **both) as winner:
            assert (await outcome(winner, ann, image_id)).attempts == 2
            may_go_on.set()
            await until(lambda: not loser.job_runner._jobs)
            assert await as_on_record(winner, image_id)
            assert files(winner) == [picture_key(image_id)]


@pytest.mark.parametrize("round_", range(5))
async def test_two_concurrent_stores_agree(database_url: str, tmp_path: Path, round_: int) -> None:
    both: dict[str, Any] = {"storage_url": str(tmp_path), "dispatch": STANDS_STILL}
    async with (
        services_on(database_url, Moody(), **both) as one,
        services_on(database_url, Moody(), **both) as other,
    ):
        gates = [standing_before_the_store(services) for services in (one, other)]
        ann = await a_person(one, check_ins=1)
        image_id = await asked(one, ann)
        for services in (one, other):
            await until(partial(is_ending, services))
        for gate in gates:
            gate.set()
        assert (await outcome(one, ann, image_id)).topic == "image.drawn"
        await until(lambda: not one.job_runner._jobs and not other.job_runner._jobs)
        assert await as_on_record(other, image_id)


async def test_a_second_attempt_records_the_picture_of_the_first(database_url: str) -> None:
    host, stored = Moody(), a_picture()
    async with services_on(database_url, host) as services, shut(host):
        ann = await a_person(services, check_ins=1)
        image_id = await asked(services, ann)
        await until(lambda: bool(host.drawn))
        assert await services.job_runner.pictures.put_if_absent(image_id, stored)  # and died before the event
        host.gate.set()
        assert (await outcome(services, ann, image_id)).topic == "image.drawn"
        image = await image_of(services, image_id)
        assert await services.job_runner.pictures.whole(picture_key(image_id)) == stored
        assert await as_on_record(services, image_id)
        assert (image.checkpoint, image.painter) == ("", "")  # the server is unknown


@pytest.mark.parametrize("torn", [b"", a_picture()[:-9], a_picture(9, 9)], ids=["empty", "cut", "other"])
async def test_a_truncated_file_of_a_crash_is_replaced(database_url: str, torn: bytes) -> None:
    host = Moody()
    async with services_on(database_url, host) as services, shut(host):
        ann = await a_person(services, check_ins=1)
        image_id = await asked(services, ann)
        await until(lambda: bool(host.drawn))
        assert await services.job_runner.pictures.put_if_absent(image_id, torn)
        host.gate.set()
        assert (await outcome(services, ann, image_id)).topic == "image.drawn"
        assert await as_on_record(services, image_id)
        assert (await image_of(services, image_id)).checkpoint == "first.safetensors"


async def test_a_picture_that_cannot_be_stored_is_not_paid(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object) -> bool:
        return False

    async with services_on(database_url, Moody()) as services:
        ann = await a_person(services, check_ins=1)
        monkeypatch.setattr(Pictures, "put_if_absent", refuse)
        image_id = await asked(services, ann)
        assert (await outcome(services, ann, image_id)).reason == "the picture could not be made"
        with pytest.raises(PictureNotStored):
            await store_first_picture(
                services.job_runner.pictures, await image_of(services, image_id), Drawn(a_picture())
            )


@pytest.mark.parametrize("ends", ["failed", "cancelled"])
async def test_the_file_of_a_failed_job_is_removed_after_a_crash(
    database_url: str, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    """The row of the job stays until its file is removed."""
    host, really, deaths = Moody(), Pictures.remove, list[str]()

    async def remove(self: Pictures, key: str) -> None:
        deaths.append(key)
        if len(deaths) == 1:
            raise OSError
        await really(self, key)

    monkeypatch.setattr(Pictures, "remove", remove)
    async with services_on(database_url, host, dispatch=STANDS_STILL) as services, shut(host):
        ann = await a_person(services, check_ins=1)
        image_id = await asked(services, ann)
        await until(lambda: bool(host.drawn))
        await services.job_runner.pictures.put_if_absent(image_id, a_picture())
        if ends == "cancelled":
            await services.job_runner.cleanup.cancel(await image_of(services, image_id), ends)
        else:
            host.failures.append(DrawingFailed("it cannot be drawn"))
        host.gate.set()
        assert (await outcome(services, ann, image_id)).topic != "image.drawn"
        assert (files(services), (await account_of(services, ann)).balance) == ([], 100)
    assert deaths[:2] == [picture_key(image_id)] * 2


async def test_of_many_concurrent_stores_one_picture_stays(database_url: str, tmp_path: Path) -> None:
    pictures = Pictures.at(str(tmp_path))
    async with services_on(database_url, Moody()) as services:
        ann = await a_person(services, check_ins=1)
        image = await image_of(services, await asked(services, ann))
    kept = await asyncio.gather(
        *(store_first_picture(pictures, image, Drawn(a_picture())) for _ in range(20))
    )
    assert {one.content for one in kept} == {await pictures.whole(picture_key(image.id))}
    assert os.listdir(tmp_path) == [picture_key(image.id)]
