"""Pictures: stored under valid keys only, read completely or in part, and durable over a restart."""

import asyncio
import os
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import obstore
import pytest
from obstore.exceptions import BaseError, GenericError, NotSupportedError

from huajuan.storage.pictures import PictureMissing, Pictures, StorageUnusable, picture_key

CONTENT = bytes(range(256)) * 4
FOREIGN_KEYS = [
    "",
    ".",
    "..",
    "signing.key",
    "../signing.key",
    "/etc/passwd",
    "..%2Fsigning.key",
    f"{'0' * 32}",
    f"{'0' * 32}.jpg",
    f"{'0' * 32}.png\n",
    f"../{'0' * 32}.png",
    f"folder/{'0' * 32}.png",
    f"{'A' * 32}.png",
    f"{'0' * 31}٣.png",
    f"{'0' * 32}.png\0",
]


@pytest.fixture(params=["folder", "file URL", "memory"])
def pictures(request: pytest.FixtureRequest, tmp_path: Path) -> Pictures:
    places = {"folder": str(tmp_path), "file URL": tmp_path.as_uri(), "memory": "memory://"}
    return Pictures.at(places[request.param])


async def test_a_stored_picture_is_found(pictures: Pictures) -> None:
    key = await pictures.put(UUID(int=7), CONTENT)
    assert key == f"{7:032x}.png"
    assert await pictures.look_up(key) == (1024, f'"{7:032x}"')
    assert await pictures.read(key, 0, 1024) == CONTENT


@pytest.mark.parametrize(("start", "end"), [(0, 1), (1, 3), (255, 257), (1023, 1024), (5, 1024)])
async def test_a_range_of_bytes_is_read(pictures: Pictures, start: int, end: int) -> None:
    key = await pictures.put(uuid4(), CONTENT)
    assert await pictures.read(key, start, end) == CONTENT[start:end]


async def test_a_range_beyond_the_end_is_shortened(pictures: Pictures) -> None:
    key = await pictures.put(uuid4(), CONTENT)
    assert await pictures.read(key, 1000, 2000) == CONTENT[1000:]


async def test_an_unknown_key_is_missing(pictures: Pictures) -> None:
    key = f"{uuid4().hex}.png"
    with pytest.raises(PictureMissing):
        await pictures.look_up(key)
    with pytest.raises(PictureMissing):
        await pictures.read(key, 0, 1)


@pytest.mark.parametrize("key", FOREIGN_KEYS)
async def test_an_invalid_key_is_missing(tmp_path: Path, key: str) -> None:
    (tmp_path / "signing.key").write_text("secret")
    pictures = Pictures.at(str(tmp_path / "pictures"))
    await pictures.put(UUID(int=0), CONTENT)
    with pytest.raises(PictureMissing):
        await pictures.look_up(key)
    with pytest.raises(PictureMissing):
        await pictures.read(key, 0, 1)


async def test_a_picture_stored_twice_exists_once(tmp_path: Path) -> None:
    pictures = Pictures.at(str(tmp_path))
    image_id = uuid4()
    keys = {await pictures.put(image_id, CONTENT) for _ in range(2)}
    assert os.listdir(tmp_path) == list(keys)
    assert await pictures.read(keys.pop(), 0, 1024) == CONTENT


async def test_of_simultaneous_puts_the_first_stays(pictures: Pictures) -> None:
    image_id, made = uuid4(), [bytes([number]) * 5000 for number in range(30)]
    is_first = await asyncio.gather(*(pictures.put_if_absent(image_id, each) for each in made))
    assert is_first.count(True) == 1
    assert await pictures.whole(picture_key(image_id)) == made[is_first.index(True)]
    with pytest.raises(PictureMissing):
        await pictures.whole(picture_key(uuid4()))


@pytest.mark.parametrize("error", [GenericError("501"), NotSupportedError("no"), RuntimeError("disabled")])
async def test_a_store_without_conditional_puts_is_read_first(
    monkeypatch: pytest.MonkeyPatch, pictures: Pictures, error: Exception
) -> None:
    really = obstore.put_async

    async def put(*arguments: Any, **more: Any) -> object:
        if more.get("mode") == "create":
            raise error
        return await really(*arguments, **more)

    monkeypatch.setattr(obstore, "put_async", put)
    image_id = uuid4()
    assert [await pictures.put_if_absent(image_id, each) for each in (CONTENT, b"later")] == [True, False]
    assert await pictures.whole(picture_key(image_id)) == CONTENT


async def test_an_unwritable_folder_is_unavailable(tmp_path: Path) -> None:
    pictures = Pictures.at(str(tmp_path / "pictures"))
    (tmp_path / "pictures").rmdir()
    (tmp_path / "pictures").touch()
    with pytest.raises((BaseError, OSError)):
        await pictures.put_if_absent(uuid4(), CONTENT)


async def test_a_folder_is_read_again_after_a_restart(tmp_path: Path) -> None:
    key = await Pictures.at(str(tmp_path)).put(uuid4(), CONTENT)
    again = Pictures.at(str(tmp_path))
    assert await again.read(key, 0, (await again.look_up(key)).size) == CONTENT


async def test_a_folder_is_created_with_its_parents_and_private(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "画 卷 %20"
    key = await Pictures.at(str(folder)).put(uuid4(), CONTENT)
    assert (folder / key).read_bytes() == CONTENT
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("place", ["carrier://pigeon", "s3://", "://nothing", "/proc/nowhere"])
def test_an_unusable_place_is_rejected_in_one_line(place: str) -> None:
    with pytest.raises(StorageUnusable) as refused:
        Pictures.at(place)
    assert len(str(refused.value).splitlines()) == 1
