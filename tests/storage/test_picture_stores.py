"""Stores that are away, refuse, or cannot work at all; and what an object store is told of each picture."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from huajuan.storage.pictures import PictureMissing, Pictures, PlaceUnusable, StoreAway, key_of
from tests.s3 import FakeS3, fake_s3, pointing_at

CONTENT = b"\x89PNG" + bytes(5000)
KEY = key_of(UUID(int=7))
OPERATIONS: dict[str, Callable[[Pictures], Awaitable[Any]]] = {
    "put": lambda pictures: pictures.put(UUID(int=7), CONTENT),
    "put first": lambda pictures: pictures.put_first(UUID(int=7), CONTENT),
    "whole": lambda pictures: pictures.whole(KEY),
    "look": lambda pictures: pictures.look(KEY),
    "read": lambda pictures: pictures.read(KEY, 0, 4),
    "remove": lambda pictures: pictures.remove(KEY),
    "digest": lambda pictures: asyncio.to_thread(pictures.digest, KEY, None),
}
each_operation = pytest.mark.parametrize("act", OPERATIONS.values(), ids=OPERATIONS)


@pytest_asyncio.fixture
async def s3() -> AsyncIterator[FakeS3]:
    async with fake_s3() as store:
        yield store


async def test_objects_have_their_content_type(s3: FakeS3) -> None:
    pictures = Pictures.at("s3://bucket/pictures")
    await pictures.check()
    await pictures.put(UUID(int=7), CONTENT)
    assert await pictures.put_first(UUID(int=8), CONTENT)
    assert not await pictures.put_first(UUID(int=8), b"later")
    kept = {f"/bucket/pictures/{key_of(UUID(int=number))}" for number in (7, 8)}
    assert s3.objects.keys() == kept
    assert {s3.types[path] for path in kept} == {"image/png"}
    assert await pictures.whole(KEY) == CONTENT
    assert await pictures.read(KEY, 1, 4) == b"PNG"
    assert await asyncio.to_thread(pictures.digest, KEY, None) == hashlib.sha256(CONTENT).hexdigest()
    assert await asyncio.to_thread(pictures.digest, KEY, 7) is None


@each_operation
@pytest.mark.parametrize("status", [403, 501])
async def test_a_store_that_refuses_is_away(
    s3: FakeS3, status: int, act: Callable[[Pictures], Awaitable[Any]]
) -> None:
    pictures = Pictures.at("s3://bucket")
    s3.refusing = status
    with pytest.raises(StoreAway) as away:
        await act(pictures)
    assert len(str(away.value).splitlines()) == 1
    assert "secret" not in str(away.value)


@each_operation
async def test_a_store_that_does_not_answer_is_away(act: Callable[[Pictures], Awaitable[Any]]) -> None:
    with pointing_at("http://127.0.0.1:9"):
        pictures = Pictures.at("s3://bucket")
    with pytest.raises(StoreAway):
        await act(pictures)


@each_operation
@pytest.mark.parametrize("is_file", [False, True], ids=["gone", "a file"])
async def test_a_folder_that_is_none_any_more_is_away_and_not_made_anew(
    tmp_path: Path, act: Callable[[Pictures], Awaitable[Any]], is_file: bool
) -> None:
    folder = tmp_path / "pictures"
    pictures = Pictures.at(str(folder))
    folder.rmdir()
    if is_file:
        folder.touch()
    with pytest.raises(StoreAway):
        await act(pictures)
    assert not folder.is_dir()


@each_operation
async def test_a_store_that_never_ends_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, act: Callable[[Pictures], Awaitable[Any]]
) -> None:
    if act is OPERATIONS["digest"]:
        pytest.skip("it blocks, and is asked on the command line alone")

    async def never(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    for name in ("put", "get", "head", "get_range", "delete"):
        monkeypatch.setattr(f"obstore.{name}_async", never)
    for name in ("READ_SECONDS_MAX", "WRITE_SECONDS_MAX"):
        monkeypatch.setattr(f"huajuan.storage.pictures.{name}", 0.01)
    with pytest.raises(StoreAway):
        await act(Pictures.at(str(tmp_path)))


async def test_what_is_missing_from_a_store_that_works_is_missing(s3: FakeS3, tmp_path: Path) -> None:
    for place in ("s3://bucket", str(tmp_path)):
        pictures = Pictures.at(place)
        with pytest.raises(PictureMissing):
            await pictures.look(KEY)
        await pictures.remove(KEY)
        assert pictures.problems() == []


async def test_a_store_that_is_away_is_told_once_and_is_a_problem_until_it_works(s3: FakeS3) -> None:
    pictures = Pictures.at("s3://bucket")
    with capture_logs() as lines:
        for status in (403, 403, 0):
            s3.refusing = status
            try:
                await pictures.put(UUID(int=7), CONTENT)
            except StoreAway:
                assert [problem.name for problem in pictures.problems()] == ["picture_store"]
    assert [line["event"] for line in lines] == ["picture store does not work", "picture store works again"]
    assert pictures.problems() == []


@pytest.mark.parametrize("status", [403, 404, 501])
async def test_an_object_store_that_cannot_work_is_found_out(s3: FakeS3, status: int) -> None:
    s3.refusing = status
    with pytest.raises(PlaceUnusable) as refused:
        await Pictures.at("s3://bucket").check()
    assert len(str(refused.value).splitlines()) == 1


async def test_a_folder_that_cannot_work_is_found_out(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PlaceUnusable):
        Pictures.at(str(tmp_path / "file"))
    pictures = Pictures.at(str(tmp_path / "pictures"))
    await pictures.check()
    assert os.listdir(tmp_path / "pictures") == []
    (tmp_path / "pictures").rmdir()
    (tmp_path / "pictures").touch()
    with pytest.raises(PlaceUnusable):
        await pictures.check()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
async def test_a_folder_that_may_not_be_written_is_found_out(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir(mode=0o500)
    with pytest.raises(PlaceUnusable):
        await Pictures.at(str(folder)).check()


async def test_what_is_read_as_something_else_is_found_out(
    monkeypatch: pytest.MonkeyPatch, s3: FakeS3
) -> None:
    pictures = Pictures.at("s3://bucket")

    def forgetful(*_: object) -> tuple[int, dict[str, str], bytes]:
        return 200, {"etag": '"1"', "last-modified": "Sun, 29 Nov 2026 10:00:00 GMT"}, b""

    monkeypatch.setattr(s3, "_answer", forgetful)
    with pytest.raises(PlaceUnusable):
        await pictures.check()


def test_a_place_to_be_looked_at_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(PlaceUnusable):
        Pictures.at(str(tmp_path / str(uuid4())), make=False)
    assert os.listdir(tmp_path) == []
