"""Cancelled jobs: before, during and after drawing, each ends once and returns its points."""

import asyncio

import httpx
import pytest

from huajuan.domain.image import noise_seed
from tests.http.conftest import ORDER, Person, body
from tests.http.jobs import ask, cancel, gate, listed, look, points, until_status
from tests.jobs.fake_server import FakeInferenceServer
from tests.services import until

__all__ = ["gate"]
pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_queued_job_that_is_cancelled_is_never_drawn(
    client: httpx.AsyncClient, person: Person, host: FakeInferenceServer
) -> None:
    ann = await person(checked_in=True)
    host.gate.clear()
    first, beside = (await ask(client, ann))["id"], (await ask(client, ann))["id"]
    for at_the_host in (first, beside):
        await until_status(client, ann, at_the_host, "running")
    second = (await ask(client, ann, seed="unwanted"))["id"]
    gone = await cancel(client, ann, second)
    assert (gone["status"], gone["reason"], gone["charged"], gone["position"]) == (
        "cancelled",
        "cancelled",
        0,
        None,
    )
    assert await look(client, ann, second) == gone
    assert await points(client, ann) == (60, 40)
    host.gate.set()
    await until_status(client, ann, first, "succeeded")
    await until_status(client, ann, beside, "succeeded")
    third = await ask(client, ann)
    await until_status(client, ann, third["id"], "succeeded")
    assert await look(client, ann, second) == gone
    assert noise_seed("unwanted") not in [drawing.noise_seed for drawing in host.drawn]
    assert [
        image["seed"] for image in body(await client.get("/auth/user/images", headers=ann))["images"]
    ] == ["7", "7", "7"]


async def test_a_running_job_that_is_cancelled_gives_its_points_back(
    client: httpx.AsyncClient, person: Person, host: FakeInferenceServer
) -> None:
    ann = await person(checked_in=True)
    host.gate.clear()
    job = (await ask(client, ann))["id"]
    await until_status(client, ann, job, "running")
    gone = await cancel(client, ann, job)
    assert gone["status"] == "cancelled"
    assert await points(client, ann) == (100, 0)
    assert body(await client.get("/auth/points/history", headers=ann))["history"][0]["reason"] == "cancelled"
    host.gate.set()
    await until_status(client, ann, (await ask(client, ann))["id"], "succeeded")
    assert await look(client, ann, job) == gone


async def test_who_waits_for_a_job_that_is_cancelled_gets_no_picture(
    client: httpx.AsyncClient, person: Person, host: FakeInferenceServer
) -> None:
    ann = await person(checked_in=True)
    host.gate.clear()
    waiting = asyncio.create_task(client.post("/auth/generate", json=ORDER, headers=ann))

    async def running() -> bool:
        return bool(await listed(client, ann, status="running"))

    await until(running)
    await cancel(client, ann, (await listed(client, ann))[0]["id"])
    host.gate.set()
    reply = await waiting
    assert (reply.status_code, body(reply)) == (500, {"success": False, "message": "图片生成失败"})
    assert await points(client, ann) == (100, 0)


async def test_a_job_that_has_ended_stays_as_it_is(client: httpx.AsyncClient, person: Person) -> None:
    ann = await person(checked_in=True)
    job = (await ask(client, ann))["id"]
    done = await until_status(client, ann, job, "succeeded")
    assert [await cancel(client, ann, job) for _ in range(2)] == [done, done]
    assert await points(client, ann) == (80, 0)


async def test_however_late_a_cancel_comes_a_job_ends_once(
    client: httpx.AsyncClient, person: Person, host: FakeInferenceServer
) -> None:
    ann = await person(checked_in=True)
    for n in range(4):
        host.gate.clear()
        job = (await ask(client, ann))["id"]
        await until_status(client, ann, job, "running")
        host.gate.set()
        await asyncio.sleep(0.004 * n)
        told = await asyncio.gather(*(cancel(client, ann, job) for _ in range(3)))
        assert len({tuple(sorted((k, str(v)) for k, v in one.items())) for one in told}) == 1
        assert told[0]["status"] in {"cancelled", "succeeded"}
        assert await look(client, ann, job) == told[0]
    spent = sum(job["charged"] for job in await listed(client, ann))
    assert await points(client, ann) == (100 - spent, 0)
