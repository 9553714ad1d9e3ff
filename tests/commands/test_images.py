"""Deleting images, restoring them within the window, and removing their files after it."""

import asyncio
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import pytest

from huajuan.commands.images import delete_images, restore_images, sweep_pictures
from huajuan.domain.image import Image
from huajuan.domain.refusals import ImageNotFound
from huajuan.http.services import Services
from huajuan.storage.pictures import PictureMissing
from tests.commands.people import a_person, a_picture
from tests.event_store.helpers import log_rows
from tests.services import services_on

WEEK = timedelta(days=7)
QUIET = 3600.0


async def images_of(services: Services, name: str, count: int) -> tuple[UUID, list[UUID]]:
    person = await a_person(services, name, check_ins=1)
    pictures = [(await a_picture(services, person)).picture or "" for _ in range(count)]
    return person, [UUID(picture.removesuffix(".png")) for picture in pictures]


async def image_of(services: Services, image_id: UUID) -> Image:
    image = await services.store.find(Image, image_id)
    assert image
    return image


def later(services: Services, by: timedelta) -> None:
    moment = services.store.clock() + by

    def clock() -> datetime:
        return moment

    services.store.clock = clock


async def test_all_images_are_deleted_or_none(database_url: str) -> None:
    async with services_on(database_url, sweep_every_seconds=QUIET) as services:
        ann, mine = await images_of(services, "ann", 2)
        _, bens = await images_of(services, "ben", 1)
        before = log_rows(database_url)
        for others in (bens, [uuid4()]):
            with pytest.raises(ImageNotFound):
                await delete_images(services.store, services.deleted_pictures, ann, [*mine, *others], WEEK)
        assert log_rows(database_url) == before
        await delete_images(services.store, services.deleted_pictures, ann, [*mine, mine[0]], WEEK)
        assert [(await image_of(services, i)).is_visible for i in mine] == [False, False]
        with pytest.raises(ImageNotFound):
            await restore_images(services.store, ann, [*mine, *bens])
        await restore_images(services.store, ann, mine)
        assert [(await image_of(services, i)).is_visible for i in mine] == [True, True]


async def test_after_the_window_the_file_is_removed(database_url: str) -> None:
    async with services_on(database_url, sweep_every_seconds=QUIET) as services:
        ann, (image_id,) = await images_of(services, "ann", 1)
        await delete_images(services.store, services.deleted_pictures, ann, [image_id], WEEK)
        assert await sweep_pictures(services.store, services.deleted_pictures, services.pictures, 10) == 0
        assert await services.pictures.look_up(f"{image_id.hex}.png")
        later(services, WEEK + timedelta(seconds=1))
        with pytest.raises(ImageNotFound):
            await restore_images(services.store, ann, [image_id])
        assert await sweep_pictures(services.store, services.deleted_pictures, services.pictures, 10) == 1
        with pytest.raises(PictureMissing):
            await services.pictures.look_up(f"{image_id.hex}.png")
        assert (await image_of(services, image_id)).is_swept
        assert await services.deleted_pictures.due(services.store.clock(), 10) == []


async def test_a_restored_image_is_not_swept(database_url: str) -> None:
    async with services_on(database_url, sweep_every_seconds=QUIET) as services:
        ann, (image_id,) = await images_of(services, "ann", 1)
        await delete_images(services.store, services.deleted_pictures, ann, [image_id], WEEK)
        await restore_images(services.store, ann, [image_id])
        later(services, WEEK + timedelta(minutes=3))
        assert await sweep_pictures(services.store, services.deleted_pictures, services.pictures, 10) == 0
        assert await services.pictures.look_up(f"{image_id.hex}.png")
        assert await services.deleted_pictures.due(services.store.clock(), 10) == []


async def test_a_sweep_that_failed_halfway_is_completed(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise OSError("killed")

    async with services_on(database_url, sweep_every_seconds=QUIET) as services:
        ann, (image_id,) = await images_of(services, "ann", 1)
        await delete_images(services.store, services.deleted_pictures, ann, [image_id], WEEK)
        later(services, WEEK + timedelta(seconds=1))
        monkeypatch.setattr("huajuan.storage.pictures.Pictures.remove", fail)
        with pytest.raises(OSError, match="killed"):
            await sweep_pictures(services.store, services.deleted_pictures, services.pictures, 10)
        monkeypatch.undo()
        assert await sweep_pictures(services.store, services.deleted_pictures, services.pictures, 10) == 1
        with pytest.raises(PictureMissing):
            await services.pictures.look_up(f"{image_id.hex}.png")


async def test_pictures_are_swept_periodically(database_url: str) -> None:
    async with services_on(database_url, sweep_every_seconds=0.02) as services:
        ann, (image_id,) = await images_of(services, "ann", 1)
        await delete_images(services.store, services.deleted_pictures, ann, [image_id], timedelta(0))
        async with asyncio.timeout(10):
            while not (await image_of(services, image_id)).is_swept:
                await asyncio.sleep(0.01)


async def test_a_sweep_before_the_deletion_is_appended_removes_nothing(database_url: str) -> None:
    async with services_on(database_url, sweep_every_seconds=QUIET) as services:
        ann, (image_id,) = await images_of(services, "ann", 1)
        await services.deleted_pictures.put([image_id], services.store.clock())
        assert await sweep_pictures(services.store, services.deleted_pictures, services.pictures, 10) == 0
        await delete_images(services.store, services.deleted_pictures, ann, [image_id], timedelta(0))
        later(services, timedelta(seconds=1))
        assert await sweep_pictures(services.store, services.deleted_pictures, services.pictures, 10) == 1
