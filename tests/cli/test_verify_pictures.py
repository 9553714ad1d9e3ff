"""`verify --pictures`: compares stored pictures with the log, without the service."""

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from huajuan.commands.images import delete_images, restore_images
from huajuan.domain.image import Image
from huajuan.event_store.loader import Stream
from huajuan.http.services import Services
from tests.cli.conftest import Huajuan
from tests.commands.people import a_person, a_picture
from tests.s3 import pointing_at
from tests.services import services_on

WHOLE = "pictures as on record"


class Store:
    """Recorded pictures by their state, and the folder of their files."""

    def __init__(self, dsn: str, folder: Path) -> None:
        self.dsn, self.folder = dsn, folder
        self.images: list[UUID] = []
        self.ann: UUID | None = None

    def act(self, act: Callable[[Services], Any]) -> None:
        async def acting() -> None:
            quiet = {"sweep_every_seconds": 3600.0, "storage_url": str(self.folder)}
            async with services_on(self.dsn, **quiet) as services:
                await act(services)

        asyncio.run(acting())

    async def draw(self, services: Services, number: int) -> None:
        self.ann = self.ann or await a_person(services, check_ins=number)
        for _ in range(number):
            self.images.append(UUID(str((await a_picture(services, self.ann)).picture)[:32]))

    def file(self, number: int) -> Path:
        return self.folder / f"{self.images[number].hex}.png"


@pytest.fixture
def store(database_url: str, tmp_path: Path) -> Store:
    store = Store(database_url, tmp_path / "data" / "pictures")
    store.act(lambda services: store.draw(services, 5))
    return store


def test_unchanged_pictures_are_whole(store: Store, huajuan: Huajuan) -> None:
    said = huajuan(store.dsn, "verify", "--pictures")
    assert (said.status, said.out.splitlines()[-1]) == (0, "whole")
    assert f"\n5 {WHOLE}, 0 gone as on record, 0 missing, 0 changed, 0 unreadable; " in said.out
    assert "verify pictures: " in said.err
    found = json.loads(huajuan(store.dsn, "verify", "--pictures", "--json").out)
    assert found["whole"] is found["pictures"]["whole"] is True
    assert (found["pictures"]["same"], found["pictures"]["faults"]) == (5, [])
    assert "pictures" not in json.loads(huajuan(store.dsn, "verify", "--json").out)


def test_missing_and_changed_pictures_are_listed(store: Store, huajuan: Huajuan) -> None:
    whole = store.file(0).read_bytes()
    store.file(0).write_bytes(whole[:-1] + b"x")  # with the same size
    store.file(1).write_bytes(whole + b"x")
    store.file(2).unlink()
    store.file(3).unlink()
    store.file(3).mkdir()
    said = huajuan(store.dsn, "verify", "--pictures")
    assert (said.status, said.out.splitlines()[-1]) == (1, "NOT WHOLE")
    for number, fault in ((0, "CHANGED"), (1, "CHANGED"), (2, "MISSING"), (3, "MISSING")):
        assert f"{fault} picture {store.file(number).name} of position " in said.out
    assert store.file(4).name not in said.out
    found = json.loads(huajuan(store.dsn, "verify", "--pictures", "--json").out)
    assert (found["whole"], found["damage"]) == (False, None)
    counts = {name: found["pictures"][name] for name in ("same", "missing", "changed", "unreadable")}
    assert counts == {"same": 1, "missing": 2, "changed": 2, "unreadable": 0}
    assert {one["picture"] for one in found["pictures"]["faults"]} == {store.file(n).name for n in range(4)}
    assert huajuan(store.dsn, "verify").status == 0


def test_deleted_swept_and_erased_pictures_may_be_missing(store: Store, huajuan: Huajuan) -> None:
    async def lose(services: Services) -> None:
        assert store.ann
        await delete_images(
            services.store, services.deleted_pictures, store.ann, store.images[:4], timedelta(hours=1)
        )
        await restore_images(services.store, store.ann, store.images[3:4])
        for image_id, verb in ((store.images[1], Image.erase), (store.images[2], sweep)):
            await services.store.change(_doing(verb), Stream(Image, image_id))

    def sweep(image: Image) -> None:
        image.sweep(image.modified_on + timedelta(hours=2))

    store.act(lose)
    for number in range(3):
        store.file(number).unlink()
    said = huajuan(store.dsn, "verify", "--pictures")
    assert (said.status, f"\n2 {WHOLE}, 3 gone as on record, 0 missing" in said.out) == (0, True)
    store.file(3).unlink()  # it was restored
    assert f"MISSING picture {store.file(3).name}" in huajuan(store.dsn, "verify", "--pictures").out


def _doing(verb: Callable[[Image], None]) -> Callable[[Image | None], list[Image]]:
    def decide(image: Image | None) -> list[Image]:
        assert image
        verb(image)
        return [image]

    return decide


def test_a_deleted_picture_with_a_file_is_compared(store: Store, huajuan: Huajuan) -> None:
    async def delete(services: Services) -> None:
        assert store.ann
        await delete_images(
            services.store, services.deleted_pictures, store.ann, store.images[:1], timedelta(hours=1)
        )

    store.act(delete)
    store.file(0).write_bytes(b"x")
    assert f"CHANGED picture {store.file(0).name}" in huajuan(store.dsn, "verify", "--pictures").out


def test_an_event_without_a_size_is_compared_by_its_digest(
    database_url: str, tmp_path: Path, huajuan: Huajuan, monkeypatch: pytest.MonkeyPatch
) -> None:
    really: Any = Image.draw

    def draw(self: Image, *values: Any) -> None:
        really(self, *values[:4])

    monkeypatch.setattr(Image, "draw", draw)
    store = Store(database_url, tmp_path / "data" / "pictures")
    store.act(lambda services: store.draw(services, 2))
    assert huajuan(store.dsn, "verify", "--pictures").status == 0
    store.file(1).write_bytes(store.file(1).read_bytes() + b"x")
    assert f"CHANGED picture {store.file(1).name}" in huajuan(store.dsn, "verify", "--pictures").out


def test_a_missing_store_is_not_created(store: Store, huajuan: Huajuan) -> None:
    store.folder.rename(store.folder.with_name("elsewhere"))
    said = huajuan(store.dsn, "verify", "--pictures")
    assert said.status == 1
    assert "HUAJUAN_STORAGE_URL is " in said.err.splitlines()[-1]
    assert not store.folder.exists()


def test_a_store_that_does_not_answer(
    store: Store, huajuan: Huajuan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huajuan.audit.stored_pictures.UNREADABLE_MAX", 3)
    monkeypatch.setattr("huajuan.settings.Settings.storage_place", "s3://bucket")
    with pointing_at("http://127.0.0.1:9"):
        monkeypatch.setattr("huajuan.storage.pictures.RETRIES_MAX", 0)
        said = huajuan(store.dsn, "verify", "--pictures")
    assert said.status == 1
    assert said.err.splitlines()[-1].startswith("huajuan: the picture store is unavailable: ")


def test_an_export_has_no_pictures(store: Store, huajuan: Huajuan, tmp_path: Path) -> None:
    huajuan(store.dsn, "export", "--out", tmp_path / "log.jsonl")
    said = huajuan(store.dsn, "verify", tmp_path / "log.jsonl", "--pictures")
    assert (said.status, said.err) == (1, "huajuan: --pictures compares with the log itself: omit FILE\n")


def test_memory_is_bounded_by_the_page_size(
    store: Store, huajuan: Huajuan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page size does not change the result."""
    monkeypatch.setattr("huajuan.audit.stored_pictures.PAGE_POSITIONS", 3)
    monkeypatch.setattr("huajuan.storage.pictures.CHUNK_BYTES", 7)
    assert f"\n5 {WHOLE}" in huajuan(store.dsn, "verify", "--pictures").out
