"""Inference servers are added and removed in every process while they draw."""

import asyncio
from typing import Any

import httpx

from huajuan.inference_client import DrawingFailed, ServerUnavailable
from huajuan.jobs.queue import DispatchLimits
from tests.http.conftest import ORDER
from tests.http.test_admin import make_admin
from tests.jobs.fake_server import FailingServer, FakeInferenceServer, UnreachableServer
from tests.services import client_of, client_with_servers, until

SOON = DispatchLimits(servers_refresh_seconds=0.05)


async def admin(client: httpx.AsyncClient, dsn: str) -> dict[str, str]:
    headers = await registered(client, "ada")
    await make_admin(dsn, "ada")
    return headers


async def registered(client: httpx.AsyncClient, name: str) -> dict[str, str]:
    form = {"username": name, "email": f"{name}@example.org", "password": "secret"}
    assert (await client.post("/register", json=form)).status_code == 200
    return {"Authorization": (await client.post("/login", json=form)).json()["token"]}


async def urls(client: httpx.AsyncClient, headers: dict[str, str]) -> list[str]:
    reply = await client.get("/admin/inference-servers", headers=headers)
    assert reply.status_code == 200
    return [painter["url"] for painter in reply.json()["inference_servers"]]


def act(url: str = "http://gpu-2:8188", reason: str = "more to draw") -> dict[str, Any]:
    return {"url": url, "reason": reason}


async def test_one_that_is_added_gets_jobs_in_every_process(database_url: str) -> None:
    async with (
        client_of(database_url, UnreachableServer(ServerUnavailable("down")), dispatch=SOON) as one,
        client_of(database_url, UnreachableServer(ServerUnavailable("down")), dispatch=SOON) as other,
    ):
        ada = await admin(one, database_url)
        added = await one.post("/admin/inference-servers", json=act("http://gpu-2:8188/"), headers=ada)
        assert (added.status_code, added.json()["message"]) == (200, "操作成功")
        assert await urls(one, ada) == await urls(other, ada) == ["http://fake-0", "http://gpu-2:8188"]
        for client in (one, other):
            await client.post("/auth/score", headers=ada)
            drawn = await client.post("/auth/generate", json=ORDER, headers=ada)
            assert drawn.status_code == 200


async def test_one_that_is_removed_ends_its_job_and_gets_no_more(database_url: str) -> None:
    host = FakeInferenceServer()
    host.gate.clear()
    async with client_of(database_url, host, dispatch=SOON) as client:
        ada = await admin(client, database_url)
        await client.post("/auth/score", headers=ada)
        drawing = asyncio.create_task(client.post("/auth/generate", json=ORDER, headers=ada))
        await until(lambda: bool(host.drawn))
        await client.post("/admin/inference-servers", json=act(), headers=ada)
        removed = await client.post("/admin/inference-servers/remove", json=act("http://fake-0"), headers=ada)
        assert removed.status_code == 200
        assert await urls(client, ada) == ["http://gpu-2:8188"]
        host.gate.set()
        assert (await drawing).status_code == 200
        assert (await client.post("/auth/generate", json=ORDER, headers=ada)).status_code == 200
        assert len(host.drawn) == 1


async def test_what_does_not_fit_one_is_shown_also_of_one_that_was_added(database_url: str) -> None:
    host = FakeInferenceServer()
    host.problems = ["node 5 (KSampler): the server has no such kind of node"]
    async with client_of(database_url, host, dispatch=SOON) as client:
        ada = await admin(client, database_url)
        await client.post("/admin/inference-servers", json=act(), headers=ada)

        async def problems() -> list[Any]:
            reply = await client.get("/admin/inference-servers", headers=ada)
            return [painter["problems"] for painter in reply.json()["inference_servers"]]

        async with asyncio.timeout(10):
            while await problems() != [host.problems, []]:
                await asyncio.sleep(0.01)


async def test_the_state_of_each_and_its_reason_are_shown(database_url: str) -> None:
    failing = FailingServer(DrawingFailed("the server failed while drawing", "CUDA error"))
    away = UnreachableServer(ServerUnavailable("the server cannot be reached", "refused"))
    rich = {"dispatch": SOON, "welcome_points": 1_000_000}
    async with client_of(database_url, failing, away, FakeInferenceServer(), **rich) as client:
        ada = await admin(client, database_url)

        async def states() -> list[tuple[str, str | None]]:
            reply = await client.get("/admin/inference-servers", headers=ada)
            return [(painter["state"], painter["reason"]) for painter in reply.json()["inference_servers"]]

        while (found := await states())[1][0] != "unreachable" or found[0][0] != "cooldown":
            assert (await client.post("/auth/generate", json=ORDER, headers=ada)).status_code == 200
        assert found == [
            ("cooldown", "the server failed while drawing"),
            ("unreachable", "the server cannot be reached"),
            ("ready", None),
        ]


async def test_a_server_with_a_password_in_the_setting_is_shown_without_it(database_url: str) -> None:
    urls = ("http://user:secret@127.0.0.1:9/?token=secret",)
    async with client_with_servers(database_url, *urls, dispatch=SOON) as client:
        ada = await admin(client, database_url)
        replies = [
            await client.get(path, headers=ada)
            for path in ("/admin/inference-servers", "/metrics", "/readyz")
        ]
        removed = await client.post(
            "/admin/inference-servers/remove", json=act("http://127.0.0.1:9"), headers=ada
        )
        assert (removed.status_code, removed.json()["inference_servers"]) == (200, [])
    assert [reply.status_code for reply in replies] == [200, 200, 200]
    assert "http://127.0.0.1:9" in replies[0].text
    assert 'server="http://127.0.0.1:9"' in replies[1].text
    assert not any("secret" in reply.text for reply in (*replies, removed))


async def test_readiness_tells_that_nothing_draws(database_url: str) -> None:
    away = UnreachableServer(ServerUnavailable("the server cannot be reached", "path /secret"))
    limits = DispatchLimits(
        no_server_problem_seconds=0.05, cooldown_seconds_min=0.05, unreachable_cooldown_seconds_max=0.05
    )
    async with client_of(database_url, away, dispatch=limits) as client:

        async def ready() -> dict[str, Any]:
            reply = await client.get("/readyz")
            assert reply.status_code == 200
            told: dict[str, Any] = reply.json()
            return told

        async with asyncio.timeout(20):
            while not (told := await ready())["problems"]:
                await asyncio.sleep(0.01)
        assert (told["drawing"], told["status"]) == (False, "degraded")
        (problem,) = told["problems"]
        assert problem == {
            "name": "nothing_draws",
            "detail": "No inference server answers: http://fake-0: the server cannot be reached.",
            "blocking": False,
        }
        away.check = FakeInferenceServer().check  # type: ignore[method-assign]
        async with asyncio.timeout(20):
            while not (told := await ready())["drawing"]:
                await asyncio.sleep(0.01)
        assert (told["status"], told["problems"]) == ("ready", [])


async def test_without_any_painter_nothing_is_charged(database_url: str) -> None:
    async with client_of(database_url, FakeInferenceServer(), dispatch=SOON) as client:
        ada = await admin(client, database_url)
        await client.post("/auth/score", headers=ada)
        await client.post("/admin/inference-servers/remove", json=act("http://fake-0"), headers=ada)
        assert (await client.get("/readyz")).json()["drawing"] is False
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

        assert await refused("/admin/inference-servers", act(reason=" ")) == (400, "缺少原因")
        assert await refused("/admin/inference-servers", act("gpu-2")) == (400, "绘图服务器地址不合法")
        for url in ("http://u:p@gpu-2:8188", "http://gpu-2:8188?token=t", "http://token@gpu-2:8188"):
            for path in ("/admin/inference-servers", "/admin/inference-servers/remove"):
                assert await refused(path, act(url)) == (
                    400, "地址不能含用户名、密码或参数，此类绘图服务器请用 HUAJUAN_COMFYUI_URLS 配置"
                )  # fmt: skip
        assert await refused("/admin/inference-servers", {"reason": "x"}) == (400, "请求数据格式错误")
        assert await refused("/admin/inference-servers/remove", act()) == (404, "未找到该绘图服务器")
        await client.post("/admin/inference-servers", json=act(), headers=ada)
        await client.post("/admin/inference-servers", json=act("http://127.0.0.1:8188"), headers=ada)
        for url in ("http://gpu-2:8188", "HTTP://GPU-2:8188/", "http://localhost:8188", "http://[::1]:8188"):
            assert await refused("/admin/inference-servers", act(url)) == (409, "该绘图服务器已在使用中")
