"""Jobs over HTTP: request without waiting, list, look up, cancel; points are paid only for pictures."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from huajuan.event_store.errors import DatabaseUnavailable
from huajuan.http.generation_status import JobViews
from huajuan.inference_client import DrawingFailed
from huajuan.jobs.queue import NoServerAvailable, QueueFull
from tests.http.conftest import ORDER, Person, body
from tests.http.jobs import (
    ASYNC,
    PATH,
    ask,
    cancel,
    gate,
    listed,
    look,
    points,
    someone,
    states_of,
    until_status,
)
from tests.http.test_admin import make_admin
from tests.jobs.fake_server import FakeInferenceServer
from tests.services import client_of, until

__all__ = ["gate"]
pytestmark = pytest.mark.asyncio(loop_scope="module")
ADDRESS = "http://pictures.example"
NOT_FOUND = (404, {"message": "未找到对应的图像"})


async def test_a_job_from_its_request_to_its_picture(
    client: httpx.AsyncClient, person: Person, host: FakeInferenceServer
) -> None:
    ann = await person(checked_in=True)
    host.gate.clear()
    reply = await client.post("/auth/generate", json=ORDER, headers=ann | ASYNC)
    asked = body(reply)
    assert (reply.status_code, reply.headers["preference-applied"]) == (202, "respond-async")
    assert reply.headers["location"] == f"{PATH}/{asked['id']}"
    assert (asked.pop("success"), asked["message"], asked["charged"]) == (True, "操作成功", 0)
    assert asked["status"] in {"queued", "running"}
    assert await points(client, ann) == (80, 20)
    running = await until_status(client, ann, asked["id"], "running")
    assert (running["position"], running["attempts"], running["charged"]) == (0, 1, 0)
    host.gate.set()
    done = await until_status(client, ann, asked["id"], "succeeded")
    assert set(done) == set(asked)
    assert (done["position"], done["eta_seconds"], done["progress"], done["charged"]) == (None, None, 1, 20)
    assert done["create_time"] <= done["started_time"] <= done["ended_time"]
    assert await points(client, ann) == (80, 0)
    (image,) = body(await client.get("/auth/user/images", headers=ann))["images"]
    assert (image["id"], image["picture"]) == (done["image_id"], done["image_url"])
    assert image["generation_id"] == done["id"]
    assert (await client.get(done["image_url"].removeprefix(ADDRESS))).status_code == 200


async def test_a_picture_waited_for_is_the_same_job(client: httpx.AsyncClient, person: Person) -> None:
    ann = await person(checked_in=True)
    made = body(await client.post("/auth/generate", json=ORDER, headers=ann | {"Prefer": "wait=5"}))
    (job,) = await listed(client, ann)
    assert (job["status"], job["image_id"], job["image_url"]) == ("succeeded", made["id"], made["image_url"])
    assert made["generation_id"] == job["id"]


async def test_a_job_and_its_picture_name_each_other_everywhere(
    client: httpx.AsyncClient, person: Person, host: FakeInferenceServer, module_database_url: str
) -> None:
    ann = await person("namer", checked_in=True)
    await make_admin(module_database_url, "namer")
    job = await until_status(client, ann, (await ask(client, ann, prompt="ghibelline"))["id"], "succeeded")
    url = job["image_url"]
    assert (await client.post("/auth/addFavoritedImage", json={"url": url}, headers=ann)).status_code == 200
    (state,) = [f for f in await states_of(client, ann, job["id"]) if f.data.find("succeeded") > 0]
    assert json.loads(state.data)["image_id"] == job["image_id"]
    found: list[dict[str, Any]] = []
    for path in (
        "/image/all?prompt=ghibelline",
        "/auth/user/images",
        "/auth/user/images/timeRange?start_time=2000-01-01&end_time=2999-01-01",
        "/auth/image/feature?feature=ghibelline",
        "/admin/users/namer/gallery",
    ):
        found += body(await client.get(path, headers=ann))["images"]
    square = body(await client.get("/auth/imageSquare", headers=ann))["images"]
    found += [image for image in square if image["picture"] == url]
    for query in (f"url={url}", f"id={job['image_id']}"):
        found.append(body(await client.get(f"/auth/image?{query}", headers=ann))["image"])
    assert len(found) == 8
    assert {(image["id"], image["generation_id"]) for image in found} == {(job["image_id"], job["id"])}
    (favorite,) = body(await client.get("/auth/user/favoritedimages", headers=ann))["images"]
    assert (favorite["image_id"], favorite["generation_id"]) == (job["image_id"], job["id"])
    lines = body(await client.get("/admin/users/namer/timeline", headers=ann))["timeline"]
    assert {(e["image_id"], e["generation_id"]) for e in lines if e["image"]} == {
        (job["image_id"], job["id"])
    }


async def test_a_client_that_hangs_up_loses_nothing(
    client: httpx.AsyncClient, person: Person, host: FakeInferenceServer
) -> None:
    ann = await person(checked_in=True)
    host.gate.clear()
    waiting = asyncio.create_task(client.post("/auth/generate", json=ORDER, headers=ann))

    async def asked() -> bool:
        return bool(await listed(client, ann, status="running"))

    await until(asked)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    host.gate.set()
    (job,) = await listed(client, ann)
    assert (await until_status(client, ann, job["id"], "succeeded"))["charged"] == 20


async def test_a_job_that_fails_says_why_and_costs_nothing(
    client: httpx.AsyncClient, person: Person, host: FakeInferenceServer
) -> None:
    ann = await person(checked_in=True)
    host.failures = [DrawingFailed("out of memory", "Traceback: /srv/comfyui/secret.py")]
    job = await ask(client, ann)
    failed = await until_status(client, ann, job["id"], "failed")
    assert (failed["reason"], failed["charged"], failed["progress"]) == ("out of memory", 0, 0)
    assert (failed["image_url"], failed["image_id"]) == (None, None)
    assert await points(client, ann) == (100, 0)


async def test_what_waits_has_a_place_in_the_queue(
    client: httpx.AsyncClient, person: Person, host: FakeInferenceServer
) -> None:
    ann = await person(checked_in=True)
    host.gate.clear()
    jobs = [(await ask(client, ann))["id"] for _ in range(4)]
    for at_the_host in jobs[:2]:
        await until_status(client, ann, at_the_host, "running")
    shown = {job["id"]: (job["status"], job["position"]) for job in await listed(client, ann)}
    is_running = {jobs[0]: ("running", 0), jobs[1]: ("running", 0)}
    assert shown == is_running | {jobs[2]: ("queued", 1), jobs[3]: ("queued", 2)}
    host.gate.set()
    for job in jobs:
        await until_status(client, ann, job, "succeeded")


async def test_when_it_may_be_done_is_known_from_what_was_measured(database_url: str) -> None:
    host = FakeInferenceServer()
    async with client_of(database_url, host) as client:
        ann = await someone(client)
        host.gate.clear()
        first, second = (await ask(client, ann))["id"], (await ask(client, ann))["id"]
        assert (await look(client, ann, second))["eta_seconds"] is None
        host.gate.set()
        await until_status(client, ann, second, "succeeded")
        host.gate.clear()
        third, fourth = (await ask(client, ann))["id"], (await ask(client, ann))["id"]
        await until_status(client, ann, third, "running")
        assert (
            0
            <= (await look(client, ann, third))["eta_seconds"]
            <= (await look(client, ann, fourth))["eta_seconds"]
        )
        assert first < second < third
        host.gate.set()


async def test_jobs_are_listed_newest_first_page_by_page(
    client: httpx.AsyncClient, person: Person, host: FakeInferenceServer
) -> None:
    ann, ben = await person(checked_in=True), await person()
    ids = [(await ask(client, ann))["id"] for _ in range(4)]
    await cancel(client, ann, ids[0])
    for job in ids:
        await until_status(client, ann, job, "succeeded", "cancelled")
    paged, url = [], f"{PATH}?limit=3"
    while url:
        reply = await client.get(url.removeprefix(ADDRESS), headers=ann)
        paged.append([job["id"] for job in body(reply)["generations"]])
        url = reply.headers.get("link", "").partition("<")[2].partition(">")[0]
    assert paged == [ids[:0:-1], ids[:1]]
    assert await listed(client, ben) == []
    every = await listed(client, ann)
    for status in ("succeeded", "cancelled", "running"):
        assert await listed(client, ann, status=status) == [j for j in every if j["status"] == status]


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "after=x", "after=LTE", "status=done", "status=a&status=b"]
)
async def test_a_bad_query_is_named(client: httpx.AsyncClient, person: Person, query: str) -> None:
    reply = await client.get(f"{PATH}?{query}", headers=await person())
    assert (reply.status_code, body(reply)) == (
        400,
        {"message": "查询参数无效", "error": query.partition("=")[0]},
    )


@pytest.mark.parametrize("job", ["0", "1", "-1", "abc", "1.5", "9" * 30, "99999999", "１", "%00"])
@pytest.mark.parametrize("method", ["GET", "DELETE", "EVENTS"])
async def test_no_such_job(client: httpx.AsyncClient, person: Person, method: str, job: str) -> None:
    path, verb = (f"{PATH}/{job}/events", "GET") if method == "EVENTS" else (f"{PATH}/{job}", method)
    reply = await client.request(verb, path, headers=await person())
    assert (reply.status_code, body(reply)) == NOT_FOUND


@pytest.mark.parametrize("method", ["GET", "DELETE", "EVENTS"])
async def test_somebody_elses_job_is_not_there(
    client: httpx.AsyncClient, person: Person, host: FakeInferenceServer, method: str
) -> None:
    ann, ben = await person(checked_in=True), await person()
    host.gate.clear()
    job = (await ask(client, ann))["id"]
    path, verb = (f"{PATH}/{job}/events", "GET") if method == "EVENTS" else (f"{PATH}/{job}", method)
    reply = await client.request(verb, path, headers=ben)
    assert (reply.status_code, body(reply)) == NOT_FOUND
    assert (await look(client, ann, job))["status"] in {"queued", "running"}


async def test_a_deleted_pictures_address_is_not_told(client: httpx.AsyncClient, person: Person) -> None:
    ann = await person(checked_in=True)
    job = (await ask(client, ann))["id"]
    done = await until_status(client, ann, job, "succeeded")
    ids = {"ids": [done["image_id"]]}
    await client.post("/auth/user/deleteImages", json=ids, headers=ann)
    await until(lambda: shows(client, ann, job, done | {"image_url": None}))
    await client.post("/auth/user/restoreImages", json=ids, headers=ann)
    await until(lambda: shows(client, ann, job, done))


async def shows(client: httpx.AsyncClient, who: dict[str, str], job: int, wanted: dict[str, Any]) -> bool:
    return await look(client, who, job) == wanted


@pytest.mark.parametrize("prefer", [{}, ASYNC], ids=["waiting", "as a job"])
async def test_a_full_queue_and_nobody_who_draws_charge_nothing(
    client: httpx.AsyncClient, person: Person, monkeypatch: pytest.MonkeyPatch, prefer: dict[str, str]
) -> None:
    ann, errors = await person(checked_in=True), [QueueFull(7), NoServerAvailable()]

    async def refuse(*_: object) -> None:
        raise errors.pop(0)

    for name in ("request_image", "generate_image"):
        monkeypatch.setattr(f"huajuan.http.routes.generations.{name}", refuse)
    full, nobody = [await client.post("/auth/generate", json=ORDER, headers=ann | prefer) for _ in range(2)]
    assert (full.status_code, full.headers["retry-after"]) == (429, "7")
    assert body(full) == {"success": False, "message": "排队已满，请稍后再试"}
    text = "服务繁忙，请稍后再试" if prefer else "图片生成失败"
    assert (nobody.status_code, body(nobody)) == (503, {"success": False, "message": text})
    assert int(nobody.headers["retry-after"]) > 0
    assert await points(client, ann) == (100, 0)
    assert await listed(client, ann) == []


async def test_what_is_on_record_is_never_reported_as_failed(
    client: httpx.AsyncClient, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = await person(checked_in=True)

    async def away(*_: object) -> None:
        raise DatabaseUnavailable

    with monkeypatch.context() as patch:
        patch.setattr(JobViews, "read_from_log", away)
        asked = await ask(client, ann)
    assert (asked["status"], asked["position"], asked["charged"]) == ("queued", None, 0)
    assert (await until_status(client, ann, asked["id"], "succeeded"))["charged"] == 20


@pytest.mark.parametrize("form", [ORDER | {"width": 7}, {}])
async def test_a_bad_order_is_refused_as_ever(client: httpx.AsyncClient, person: Person, form: Any) -> None:
    ann = await person(checked_in=True)
    replies = [await client.post("/auth/generate", json=form, headers=ann | p) for p in ({}, ASYNC)]
    assert [reply.status_code for reply in replies] == [400, 400]
    assert body(replies[0]) == body(replies[1])


async def test_without_points_nothing_is_asked(client: httpx.AsyncClient, person: Person) -> None:
    ann = await person()
    reply = await client.post("/auth/generate", json=ORDER, headers=ann | ASYNC)
    assert (reply.status_code, body(reply)) == (401, {"success": False, "message": "用户积分不足"})
    assert await listed(client, ann) == []
