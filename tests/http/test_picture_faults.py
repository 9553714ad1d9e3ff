"""Changed picture files and an unavailable picture store, as clients see them."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from huajuan.commands.erase_account import erase_account
from huajuan.domain.image import Image
from huajuan.jobs.queue import DispatchLimits
from tests.commands.people import a_person, a_picture
from tests.http.conftest import ORDER, body
from tests.services import client_of, services_on, until
from tests.storage.test_avatars import picture

UNPLANNED = "服务器内部错误"
BUSY = {"message": "服务繁忙，请稍后再试"}
ASKING: dict[str, tuple[str, dict[str, str]]] = {
    "whole": ("GET", {}),
    "head": ("HEAD", {}),
    "part": ("GET", {"Range": "bytes=0-3"}),
    "part of the same": ("GET", {"Range": "bytes=0-3", "If-Range": '"{tag}"'}),
    "again": ("GET", {"If-None-Match": '"{tag}"'}),
    "behind the end": ("GET", {"Range": "bytes=99999999-"}),
}


class Gallery:
    """An account with a picture, and the folder of the picture's file."""

    def __init__(self, client: httpx.AsyncClient, folder: Path, me: dict[str, str], url: str) -> None:
        self.client, self.folder, self.me = client, folder, me
        self.path = url.removeprefix("http://pictures.example")
        self.file = folder / self.path.rsplit("/", 1)[1]

    async def ask(self, way: str) -> httpx.Response:
        method, headers = ASKING[way]
        tag = self.file.name.removesuffix(".png")
        filled = {name: value.replace("{tag}", tag) for name, value in headers.items()}
        return await self.client.request(method, self.path, headers=filled)


async def gallery_in(client: httpx.AsyncClient, folder: Path) -> Gallery:
    form = {"username": "ann", "email": "ann@example.org", "password": "secret"}
    await client.post("/register", json=form)
    me = {"Authorization": (await client.post("/login", json=form)).json()["token"]}
    await client.get("/auth/score", headers=me)
    made = (await client.post("/auth/generate", json=ORDER, headers=me)).json()
    return Gallery(client, folder, me, made["image_url"])


@pytest_asyncio.fixture
async def gallery(database_url: str, tmp_path: Path) -> AsyncIterator[Gallery]:
    folder = tmp_path / "pictures"
    folder.mkdir()
    async with client_of(database_url, storage_url=str(folder)) as client:
        yield await gallery_in(client, folder)


def unplanned(reply: httpx.Response) -> bool:
    return reply.status_code == 500 and (not reply.content or body(reply)["message"] == UNPLANNED)


async def test_a_file_of_another_size_is_never_served_and_logged_once(gallery: Gallery) -> None:
    whole = gallery.file.read_bytes()
    for content in (whole[:-1], whole + b"x", b""):
        gallery.file.write_bytes(content)
        with capture_logs() as lines:
            replies = [await gallery.ask(way) for way in ASKING]
        assert [unplanned(reply) for reply in replies] == [True] * len(ASKING)
        assert body(replies[0])["request_id"] == replies[0].headers["x-request-id"]
        assert not any("etag" in reply.headers for reply in replies)
        told = [line for line in lines if line["event"] == "stored picture has another size"]
        assert len(told) == (1 if content == whole[:-1] else 0)
        assert not any(line.get("exc_info") for line in lines)
    gallery.file.write_bytes(whole)
    assert [(await gallery.ask(way)).status_code for way in ASKING] == [200, 200, 206, 206, 304, 416]


async def test_a_picture_without_a_size_on_record_is_served(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really: Any = Image.draw

    def draw(self: Image, *values: Any) -> None:
        really(self, *values[:4])

    monkeypatch.setattr(Image, "draw", draw)
    async with client_of(database_url, storage_url=str(tmp_path)) as client:
        gallery = await gallery_in(client, tmp_path)
        gallery.file.write_bytes(gallery.file.read_bytes() + b"x")
        assert (await gallery.ask("whole")).status_code == 200


async def test_a_store_that_is_away_is_a_503_and_works_again(gallery: Gallery, tmp_path: Path) -> None:
    client, me = gallery.client, gallery.me
    upload = {"file": ("me.png", picture(), "image/png")}
    avatar = body(await client.post("/auth/uploadavatar", files=upload, headers=me))["data"]
    avatar = avatar.removeprefix("http://pictures.example")
    gallery.folder.rename(tmp_path / "elsewhere")
    replies = [
        *[await gallery.ask(way) for way in ASKING],
        await client.get(avatar),
        await client.post("/auth/uploadavatar", files=upload, headers=me),
        await client.post("/auth/uploadavatar", files=upload, headers=me | {"Idempotency-Key": "k"}),
    ]
    for reply in replies:
        assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
        assert not reply.content or body(reply) == BUSY
    ready = await client.get("/readyz")
    assert ready.status_code == 200
    assert "picture_store" in [problem["name"] for problem in ready.json()["problems"]]
    (tmp_path / "elsewhere").rename(gallery.folder)
    assert (await gallery.ask("whole")).status_code == (await client.get(avatar)).status_code == 200
    again = await client.post("/auth/uploadavatar", files=upload, headers=me | {"Idempotency-Key": "k"})
    assert again.status_code == 200
    assert (await client.get("/readyz")).json()["problems"] == []


async def test_a_drawn_picture_waits_for_its_store(gallery: Gallery, tmp_path: Path) -> None:
    client, me = gallery.client, gallery.me
    gallery.folder.rename(tmp_path / "elsewhere")
    await client.get("/auth/score", headers=me)
    asked = await client.post("/auth/generate", json=ORDER, headers=me | {"Prefer": "respond-async"})

    async def is_missed() -> bool:
        return bool((await client.get("/readyz")).json()["problems"] != [])

    await until(is_missed)
    assert (await client.get(asked.headers["location"], headers=me)).json()["status"] == "running"
    (tmp_path / "elsewhere").rename(gallery.folder)

    async def is_drawn() -> bool:
        job = (await client.get(asked.headers["location"], headers=me)).json()
        return bool(job["status"] == "succeeded")

    await until(is_drawn)


async def test_what_no_store_took_costs_nothing_and_is_cleared_up_later(
    database_url: str, tmp_path: Path
) -> None:
    folder = tmp_path / "pictures"
    quick = DispatchLimits(lease_seconds=0.3, heartbeat_seconds=0.1, store_seconds_max=0)
    async with services_on(database_url, storage_url=str(folder), dispatch=quick) as services:
        ann = await a_person(services, "ann", check_ins=1)
        folder.rename(tmp_path / "elsewhere")
        ending = await a_picture(services, ann)
        assert (ending.picture, ending.balance) == (None, 100)
        (tmp_path / "elsewhere").rename(folder)

        async def is_closed() -> bool:
            return not await services.queue._statements.run("SELECT 1 FROM operations.job_leases")

        await until(is_closed)


async def test_sweeps_go_on_when_the_store_is_back(database_url: str, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    often = {"sweep_every_seconds": 0.05, "erase_every_seconds": 0.05, "erasure_grace_seconds": 0.0}
    async with services_on(database_url, storage_url=str(folder), restore_hours=0, **often) as services:
        ann = await a_person(services, "ann", check_ins=1)
        ending = await a_picture(services, ann)
        file = folder / str(ending.picture)
        folder.rename(tmp_path / "elsewhere")
        await erase_account(services.store, services.erasures, ann)

        async def is_withdrawn() -> bool:
            image = await services.store.find(Image, UUID(file.stem))
            return bool(image and image.is_swept)

        await until(is_withdrawn)
        (tmp_path / "elsewhere").rename(folder)
        await until(lambda: not file.exists())
