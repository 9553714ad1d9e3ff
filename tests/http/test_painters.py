"""Painters are added and removed while they draw, in every process."""

import asyncio
from typing import Any

import httpx

from huajuan.dispatch.limits import DispatchLimits
from huajuan.inference_client import ServerUnavailable
from tests.desk import client_of, until
from tests.dispatch.fake_host import FakeHost, Unreachable
from tests.http.conftest import ORDER
from tests.http.test_admin import make_admin

SOON = DispatchLimits(painters_every_seconds=0.05)


async def admin(client: httpx.AsyncClient, dsn: str) -> dict[str, str]:
    headers = await registered(client, "ada")
    await make_admin(dsn, "ada")
    return headers


async def registered(client: httpx.AsyncClient, name: str) -> dict[str, str]:
    form = {"username": name, "email": f"{name}@example.org", "password": "secret"}
    assert (await client.post("/register", json=form)).status_code == 200
    return {"Authorization": (await client.post("/login", json=form)).json()["token"]}


async def urls(client: httpx.AsyncClient, headers: dict[str, str]) -> list[str]:
    reply = await client.get("/admin/painters", headers=headers)
    assert reply.status_code == 200
    return [painter["url"] for painter in reply.json()["painters"]]


def act(url: str = "http://gpu-2:8188", reason: str = "more to draw") -> dict[str, Any]:
    return {"url": url, "reason": reason}


async def test_one_that_is_added_gets_jobs_in_every_process(database_url: str) -> None:
    async with (
        client_of(database_url, Unreachable(ServerUnavailable("down")), dispatch=SOON) as one,
        client_of(database_url, Unreachable(ServerUnavailable("down")), dispatch=SOON) as other,
    ):
        ada = await admin(one, database_url)
        added = await one.post("/admin/painters", json=act("http://gpu-2:8188/"), headers=ada)
        assert (added.status_code, added.json()["message"]) == (200, "操作成功")
        assert await urls(one, ada) == await urls(other, ada) == ["http://fake-0", "http://gpu-2:8188"]
        for client in (one, other):
            await client.post("/auth/score", headers=ada)
            drawn = await client.post("/auth/generate", json=ORDER, headers=ada)
            assert drawn.status_code == 200


async def test_one_that_is_removed_ends_its_job_and_gets_no_more(database_url: str) -> None:
    host = FakeHost()
    host.gate.clear()
    async with client_of(database_url, host, dispatch=SOON) as client:
        ada = await admin(client, database_url)
        await client.post("/auth/score", headers=ada)
        drawing = asyncio.create_task(client.post("/auth/generate", json=ORDER, headers=ada))
        await until(lambda: bool(host.drawn))
        await client.post("/admin/painters", json=act(), headers=ada)
        removed = await client.post("/admin/painters/remove", json=act("http://fake-0"), headers=ada)
        assert removed.status_code == 200
        assert await urls(client, ada) == ["http://gpu-2:8188"]
        host.gate.set()
        assert (await drawing).status_code == 200
        assert (await client.post("/auth/generate", json=ORDER, headers=ada)).status_code == 200
        assert len(host.drawn) == 1


async def test_what_does_not_fit_one_is_shown_also_of_one_that_was_added(database_url: str) -> None:
    host = FakeHost()
    host.problems = ["node 5 (KSampler): the server has no such kind of node"]
    async with client_of(database_url, host, dispatch=SOON) as client:
        ada = await admin(client, database_url)
        await client.post("/admin/painters", json=act(), headers=ada)

        async def problems() -> list[Any]:
            reply = await client.get("/admin/painters", headers=ada)
            return [painter["problems"] for painter in reply.json()["painters"]]

        async with asyncio.timeout(10):
            while await problems() != [host.problems, []]:
                await asyncio.sleep(0.01)


async def test_without_any_painter_nothing_is_charged(database_url: str) -> None:
    async with client_of(database_url, FakeHost(), dispatch=SOON) as client:
        ada = await admin(client, database_url)
        await client.post("/auth/score", headers=ada)
        await client.post("/admin/painters/remove", json=act("http://fake-0"), headers=ada)
        refused = await client.post("/auth/generate", json=ORDER, headers=ada)
        assert (refused.status_code, refused.json()["message"]) == (503, "图片生成失败")
        assert int(refused.headers["Retry-After"]) > 0
        assert (await client.get("/auth/points", headers=ada)).json()["score"] == 100


async def test_what_cannot_be_is_refused(database_url: str) -> None:
    async with client_of(database_url) as client:
        ada = await admin(client, database_url)

        async def refused(path: str, form: dict[str, Any]) -> tuple[int, str]:
            reply = await client.post(path, json=form, headers=ada)
            return reply.status_code, reply.json()["message"]

        assert await refused("/admin/painters", act(reason=" ")) == (400, "缺少原因")
        assert await refused("/admin/painters", act("gpu-2")) == (400, "绘图服务器地址不合法")
        assert await refused("/admin/painters", {"reason": "x"}) == (400, "请求数据格式错误")
        assert await refused("/admin/painters/remove", act()) == (404, "未找到该绘图服务器")
        await client.post("/admin/painters", json=act(), headers=ada)
        await client.post("/admin/painters", json=act("http://127.0.0.1:8188"), headers=ada)
        for url in ("http://gpu-2:8188", "HTTP://GPU-2:8188/", "http://localhost:8188", "http://[::1]:8188"):
            assert await refused("/admin/painters", act(url)) == (409, "该绘图服务器已在使用中")
