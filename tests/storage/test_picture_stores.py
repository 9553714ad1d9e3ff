"""Stores that are unavailable, reject requests or are unusable; and the content type of pictures."""

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

from huajuan.storage.pictures import (
    PictureMissing,
    Pictures,
    StorageUnavailable,
    StorageUnusable,
    picture_key,
)
from tests.s3 import FakeS3, fake_s3, pointing_at

CONTENT = b"\x89PNG" + bytes(5000)
KEY = picture_key(UUID(int=7))
OPERATIONS: dict[str, Callable[[Pictures], Awaitable[Any]]] = {
    "put": lambda pictures: pictures.put(UUID(int=7), CONTENT),
    "put first": lambda pictures: pictures.put_if_absent(UUID(int=7), CONTENT),
    "whole": lambda pictures: pictures.whole(KEY),
    "look": lambda pictures: pictures.look_up(KEY),
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
    assert await pictures.put_if_absent(UUID(int=8), CONTENT)
    assert not await pictures.put_if_absent(UUID(int=8), b"later")
    kept = {f"/bucket/pictures/{picture_key(UUID(int=number))}" for number in (7, 8)}
    assert s3.objects.keys() == kept
    assert {s3.types[path] for path in kept} == {"image/png"}
    assert await pictures.whole(KEY) == CONTENT
    assert await pictures.read(KEY, 1, 4) == b"PNG"
    assert await asyncio.to_thread(pictures.digest, KEY, None) == hashlib.sha256(CONTENT).hexdigest()
    assert await asyncio.to_thread(pictures.digest, KEY, 7) is None


@each_operation
@pytest.mark.parametrize("status", [403, 501])
async def test_a_rejecting_store_is_unavailable(
    s3: FakeS3, status: int, act: Callable[[Pictures], Awaitable[Any]]
) -> None:
    pictures = Pictures.at("s3://bucket")
    s3.refusing = status
    with pytest.raises(StorageUnavailable) as away:
        await act(pictures)
    assert len(str(away.value).splitlines()) == 1
    assert "secret" not in str(away.value)


@each_operation
async def test_a_store_that_does_not_answer_is_unavailable(act: Callable[[Pictures], Awaitable[Any]]) -> None:
    with pointing_at("http://127.0.0.1:9"):
        pictures = Pictures.at("s3://bucket")
    with pytest.raises(StorageUnavailable):
        await act(pictures)


@each_operation
@pytest.mark.parametrize("is_file", [False, True], ids=["gone", "a file"])
async def test_a_removed_folder_is_unavailable_and_not_created_again(
    tmp_path: Path, act: Callable[[Pictures], Awaitable[Any]], is_file: bool
) -> None:
    folder = tmp_path / "pictures"
    pictures = Pictures.at(str(folder))
    folder.rmdir()
    if is_file:
        folder.touch()
    with pytest.raises(StorageUnavailable):
        await act(pictures)
    assert not folder.is_dir()


@each_operation
async def test_an_endless_operation_times_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, act: Callable[[Pictures], Awaitable[Any]]
) -> None:
    if act is OPERATIONS["digest"]:
        pytest.skip("it blocks, and only the command line uses it")

    async def never(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    for name in ("put", "get", "head", "get_range", "delete"):
        monkeypatch.setattr(f"obstore.{name}_async", never)
    for name in ("READ_SECONDS_MAX", "WRITE_SECONDS_MAX"):
        monkeypatch.setattr(f"huajuan.storage.pictures.{name}", 0.01)
    with pytest.raises(StorageUnavailable):
        await act(Pictures.at(str(tmp_path)))


async def test_a_missing_picture_in_a_working_store_is_missing(s3: FakeS3, tmp_path: Path) -> None:
    for place in ("s3://bucket", str(tmp_path)):
        pictures = Pictures.at(place)
        with pytest.raises(PictureMissing):
            await pictures.look_up(KEY)
        await pictures.remove(KEY)
        assert pictures.problems() == []


async def test_an_unavailable_store_is_logged_once_and_is_a_problem(s3: FakeS3) -> None:
    pictures = Pictures.at("s3://bucket")
    with capture_logs() as lines:
        for status in (403, 403, 0):
            s3.refusing = status
            try:
                await pictures.put(UUID(int=7), CONTENT)
            except StorageUnavailable:
                assert [problem.name for problem in pictures.problems()] == ["picture_store"]
    assert [line["event"] for line in lines] == ["picture store does not work", "picture store works again"]
    assert pictures.problems() == []


@pytest.mark.parametrize("status", [403, 404, 501])
async def test_an_unusable_object_store_fails_the_check(s3: FakeS3, status: int) -> None:
    s3.refusing = status
    with pytest.raises(StorageUnusable) as refused:
        await Pictures.at("s3://bucket").check()
    assert len(str(refused.value).splitlines()) == 1


async def test_an_unusable_folder_fails_the_check(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageUnusable):
        Pictures.at(str(tmp_path / "file"))
    pictures = Pictures.at(str(tmp_path / "pictures"))
    await pictures.check()
    assert os.listdir(tmp_path / "pictures") == []
    (tmp_path / "pictures").rmdir()
    (tmp_path / "pictures").touch()
    with pytest.raises(StorageUnusable):
        await pictures.check()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
async def test_a_read_only_folder_fails_the_check(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir(mode=0o500)
    with pytest.raises(StorageUnusable):
        await Pictures.at(str(folder)).check()


async def test_a_store_that_returns_other_bytes_fails_the_check(
    monkeypatch: pytest.MonkeyPatch, s3: FakeS3
) -> None:
    pictures = Pictures.at("s3://bucket")

    def forgetful(*_: object) -> tuple[int, dict[str, str], bytes]:
        return 200, {"etag": '"1"', "last-modified": "Sun, 29 Nov 2026 10:00:00 GMT"}, b""

    monkeypatch.setattr(s3, "_answer", forgetful)
    with pytest.raises(StorageUnusable):
        await pictures.check()


def test_a_folder_opened_without_make_is_not_created(tmp_path: Path) -> None:
    with pytest.raises(StorageUnusable):
        Pictures.at(str(tmp_path / str(uuid4())), make=False)
    assert os.listdir(tmp_path) == []
