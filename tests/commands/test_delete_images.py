"""Deleting, restoring and sweeping: all or nothing, undone within the window, and then the file goes."""

from datetime import datetime, timedelta
from uuid import UUID, uuid4

import pytest

from huajuan.commands.delete_images import delete_images
from huajuan.commands.restore_images import restore_images
from huajuan.commands.sweep_pictures import sweep_pictures
from huajuan.domain.image import Image
from huajuan.domain.refusals import ImageNotFound
from huajuan.http.services import Desk
from huajuan.storage.pictures import PictureMissing
from tests.commands.people import a_person, a_picture
from tests.event_store.studio import log_rows
from tests.services import desk_on

WEEK = timedelta(days=7)
QUIET = 3600.0


async def images_of(desk: Desk, name: str, count: int) -> tuple[UUID, list[UUID]]:
    person = await a_person(desk, name, check_ins=1)
    pictures = [(await a_picture(desk, person)).picture or "" for _ in range(count)]
    return person, [UUID(picture.removesuffix(".png")) for picture in pictures]


async def image_of(desk: Desk, image_id: UUID) -> Image:
    image = await desk.store.find(Image, image_id)
    assert image
    return image


def later(desk: Desk, by: timedelta) -> None:
    moment = desk.store.clock() + by

    def clock() -> datetime:
        return moment

    desk.store.clock = clock


async def test_all_of_them_or_none(database_url: str) -> None:
    async with desk_on(database_url, sweep_every_seconds=QUIET) as desk:
        ann, mine = await images_of(desk, "ann", 2)
        _, bens = await images_of(desk, "ben", 1)
        before = log_rows(database_url)
        for others in (bens, [uuid4()]):
            with pytest.raises(ImageNotFound):
                await delete_images(desk.store, desk.trash, ann, [*mine, *others], WEEK)
        assert log_rows(database_url) == before
        await delete_images(desk.store, desk.trash, ann, [*mine, mine[0]], WEEK)
        assert [(await image_of(desk, i)).is_shown for i in mine] == [False, False]
        with pytest.raises(ImageNotFound):
            await restore_images(desk.store, ann, [*mine, *bens])
        await restore_images(desk.store, ann, mine)
        assert [(await image_of(desk, i)).is_shown for i in mine] == [True, True]


async def test_after_the_window_the_file_is_gone_and_nothing_restores_it(database_url: str) -> None:
    async with desk_on(database_url, sweep_every_seconds=QUIET) as desk:
        ann, (image_id,) = await images_of(desk, "ann", 1)
        await delete_images(desk.store, desk.trash, ann, [image_id], WEEK)
        assert await sweep_pictures(desk.store, desk.trash, desk.pictures, 10) == 0
        assert await desk.pictures.look(f"{image_id.hex}.png")
        later(desk, WEEK + timedelta(seconds=1))
        with pytest.raises(ImageNotFound):
            await restore_images(desk.store, ann, [image_id])
        assert await sweep_pictures(desk.store, desk.trash, desk.pictures, 10) == 1
        with pytest.raises(PictureMissing):
            await desk.pictures.look(f"{image_id.hex}.png")
        assert (await image_of(desk, image_id)).is_swept
        assert await desk.trash.due(desk.store.clock(), 10) == []


async def test_what_was_restored_is_never_swept(database_url: str) -> None:
    async with desk_on(database_url, sweep_every_seconds=QUIET) as desk:
        ann, (image_id,) = await images_of(desk, "ann", 1)
        await delete_images(desk.store, desk.trash, ann, [image_id], WEEK)
        await restore_images(desk.store, ann, [image_id])
        later(desk, WEEK + timedelta(minutes=3))
        assert await sweep_pictures(desk.store, desk.trash, desk.pictures, 10) == 0
        assert await desk.pictures.look(f"{image_id.hex}.png")
        assert await desk.trash.due(desk.store.clock(), 10) == []


async def test_a_sweep_that_died_half_way_is_finished(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def dies(*_: object) -> None:
        raise OSError("killed")

    async with desk_on(database_url, sweep_every_seconds=QUIET) as desk:
        ann, (image_id,) = await images_of(desk, "ann", 1)
        await delete_images(desk.store, desk.trash, ann, [image_id], WEEK)
        later(desk, WEEK + timedelta(seconds=1))
        monkeypatch.setattr("huajuan.storage.pictures.Pictures.remove", dies)
        with pytest.raises(OSError, match="killed"):
            await sweep_pictures(desk.store, desk.trash, desk.pictures, 10)
        monkeypatch.undo()
        assert await sweep_pictures(desk.store, desk.trash, desk.pictures, 10) == 1
        with pytest.raises(PictureMissing):
            await desk.pictures.look(f"{image_id.hex}.png")


async def test_the_timer_sweeps(database_url: str) -> None:
    import asyncio

    async with desk_on(database_url, sweep_every_seconds=0.02) as desk:
        ann, (image_id,) = await images_of(desk, "ann", 1)
        await delete_images(desk.store, desk.trash, ann, [image_id], timedelta(0))
        async with asyncio.timeout(10):
            while not (await image_of(desk, image_id)).is_swept:
                await asyncio.sleep(0.01)


async def test_a_sweep_before_the_deletion_is_stated_loses_nothing(database_url: str) -> None:
    async with desk_on(database_url, sweep_every_seconds=QUIET) as desk:
        ann, (image_id,) = await images_of(desk, "ann", 1)
        await desk.trash.put([image_id], desk.store.clock())
        assert await sweep_pictures(desk.store, desk.trash, desk.pictures, 10) == 0
        await delete_images(desk.store, desk.trash, ann, [image_id], timedelta(0))
        later(desk, timedelta(seconds=1))
        assert await sweep_pictures(desk.store, desk.trash, desk.pictures, 10) == 1
