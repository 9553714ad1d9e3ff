"""What the log says of a picture is true of the file: the first one stored stays, and what is for nobody goes."""

import asyncio
import hashlib
import io
import itertools
import os
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from PIL import Image as Picture

from huajuan.http.services import Desk
from huajuan.inference_client import Drawing, DrawingFailed, Drawn
from huajuan.jobs.servers import OnAccepted, OnProgress
from huajuan.jobs.store_picture import NotKept, keep_first
from huajuan.storage.pictures import Pictures, key_of
from tests.commands.people import a_person, account_of
from tests.http.keys import shut
from tests.jobs.fake_host import FakeHost
from tests.jobs.outcome import BRISK, SMALL, asked, files, image_of, outcome
from tests.services import desk_on, until

# It renews nothing, so that its leases lapse in its hand.
STANDS_STILL = msgspec.structs.replace(BRISK, lease_seconds=0.3, heartbeat_seconds=3600)
_shades = itertools.count(1)


def a_picture(width: int = SMALL.width, height: int = SMALL.height) -> bytes:
    """Whole, and unlike every other one."""
    made = io.BytesIO()
    Picture.new("RGB", (width, height), (next(_shades), 0, 0)).save(made, "PNG")
    return made.getvalue()


class Moody(FakeHost):
    """Draws the same thing otherwise each time."""

    async def draw(
        self,
        drawing: Drawing,
        on_progress: OnProgress | None = None,
        on_accepted: OnAccepted | None = None,
    ) -> Drawn:
        drawn = await super().draw(drawing, on_progress, on_accepted)
        return msgspec.structs.replace(drawn, content=a_picture())


async def as_on_record(desk: Desk, image_id: UUID) -> bool:
    image, stored = await image_of(desk, image_id), await desk.room.pictures.whole(key_of(image_id))
    return image.digest == hashlib.sha256(stored).hexdigest()


def standing_before_the_store(desk: Desk) -> asyncio.Event:
    """What this process has drawn is not stored before the event."""
    may_go_on, really = asyncio.Event(), desk.room.pictures.put_first

    async def put_first(image_id: UUID, picture: bytes) -> bool:
        await may_go_on.wait()
        return await really(image_id, picture)

    desk.room.pictures.put_first = put_first  # type: ignore[method-assign]
    return may_go_on


async def test_who_lost_its_lease_does_not_overwrite(database_url: str, tmp_path: Path) -> None:
    both: dict[str, Any] = {"storage_url": str(tmp_path)}
    async with desk_on(database_url, Moody(), dispatch=STANDS_STILL, **both) as loser:
        may_go_on = standing_before_the_store(loser)
        ann = await a_person(loser, check_ins=1)
        image_id = await asked(loser, ann)
        await until(lambda: any(job.is_told for job in loser.room._jobs.values()))
        async with desk_on(database_url, Moody(), dispatch=BRISK, **both) as winner:
            assert (await outcome(winner, ann, image_id)).attempts == 2
            may_go_on.set()
            await until(lambda: not loser.room._jobs)
            assert await as_on_record(winner, image_id)
            assert files(winner) == [key_of(image_id)]


@pytest.mark.parametrize("round_", range(5))
async def test_two_that_store_at_once_agree(database_url: str, tmp_path: Path, round_: int) -> None:
    both: dict[str, Any] = {"storage_url": str(tmp_path), "dispatch": STANDS_STILL}
    async with (
        desk_on(database_url, Moody(), **both) as one,
        desk_on(database_url, Moody(), **both) as other,
    ):
        gates = [standing_before_the_store(desk) for desk in (one, other)]
        ann = await a_person(one, check_ins=1)
        image_id = await asked(one, ann)
        for desk in (one, other):
            await until(lambda desk=desk: any(job.is_told for job in desk.room._jobs.values()))  # type: ignore[misc]
        for gate in gates:
            gate.set()
        assert (await outcome(one, ann, image_id)).topic == "image.drawn"
        await until(lambda: not one.room._jobs and not other.room._jobs)
        assert await as_on_record(other, image_id)


async def test_a_second_attempt_tells_of_what_the_first_had_stored(database_url: str) -> None:
    host, stored = Moody(), a_picture()
    async with desk_on(database_url, host) as desk, shut(host):
        ann = await a_person(desk, check_ins=1)
        image_id = await asked(desk, ann)
        await until(lambda: bool(host.drawn))
        assert await desk.room.pictures.put_first(image_id, stored)  # and died before it told
        host.gate.set()
        assert (await outcome(desk, ann, image_id)).topic == "image.drawn"
        image = await image_of(desk, image_id)
        assert await desk.room.pictures.whole(key_of(image_id)) == stored
        assert await as_on_record(desk, image_id)
        assert (image.checkpoint, image.painter) == ("", "")  # nobody knows what drew it


@pytest.mark.parametrize("torn", [b"", a_picture()[:-9], a_picture(9, 9)], ids=["empty", "cut", "other"])
async def test_what_a_crash_of_the_machine_left_is_replaced(database_url: str, torn: bytes) -> None:
    host = Moody()
    async with desk_on(database_url, host) as desk, shut(host):
        ann = await a_person(desk, check_ins=1)
        image_id = await asked(desk, ann)
        await until(lambda: bool(host.drawn))
        assert await desk.room.pictures.put_first(image_id, torn)
        host.gate.set()
        assert (await outcome(desk, ann, image_id)).topic == "image.drawn"
        assert await as_on_record(desk, image_id)
        assert (await image_of(desk, image_id)).checkpoint == "first.safetensors"


async def test_what_cannot_be_kept_is_not_paid(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: object) -> bool:
        return False

    async with desk_on(database_url, Moody()) as desk:
        ann = await a_person(desk, check_ins=1)
        monkeypatch.setattr(Pictures, "put_first", refuse)
        image_id = await asked(desk, ann)
        assert (await outcome(desk, ann, image_id)).reason == "the picture could not be made"
        with pytest.raises(NotKept):
            await keep_first(desk.room.pictures, await image_of(desk, image_id), Drawn(a_picture()))


@pytest.mark.parametrize("ends", ["failed", "cancelled"])
async def test_what_is_for_nobody_goes_though_its_process_died_before(
    database_url: str, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    """The end is on record, and the file is still there: the job's row stays until it is not."""
    host, really, deaths = Moody(), Pictures.remove, list[str]()

    async def remove(self: Pictures, key: str) -> None:
        deaths.append(key)
        if len(deaths) == 1:
            raise OSError
        await really(self, key)

    monkeypatch.setattr(Pictures, "remove", remove)
    async with desk_on(database_url, host, dispatch=STANDS_STILL) as desk, shut(host):
        ann = await a_person(desk, check_ins=1)
        image_id = await asked(desk, ann)
        await until(lambda: bool(host.drawn))
        await desk.room.pictures.put_first(image_id, a_picture())
        if ends == "cancelled":
            await desk.room.closing.cancel(await image_of(desk, image_id), ends)
        else:
            host.failures.append(DrawingFailed("it cannot be drawn"))
        host.gate.set()
        assert (await outcome(desk, ann, image_id)).topic != "image.drawn"
        assert (files(desk), (await account_of(desk, ann)).balance) == ([], 100)
    assert deaths[:2] == [key_of(image_id)] * 2


async def test_of_many_one_is_kept_and_all_know_it(database_url: str, tmp_path: Path) -> None:
    pictures = Pictures.at(str(tmp_path))
    async with desk_on(database_url, Moody()) as desk:
        ann = await a_person(desk, check_ins=1)
        image = await image_of(desk, await asked(desk, ann))
    kept = await asyncio.gather(*(keep_first(pictures, image, Drawn(a_picture())) for _ in range(20)))
    assert {one.content for one in kept} == {await pictures.whole(key_of(image.id))}
    assert os.listdir(tmp_path) == [key_of(image.id)]
