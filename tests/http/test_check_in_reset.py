"""A clock that was wrong blocks neither check-ins nor pictures."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest
import pytest_asyncio

from tests.http.conftest import ORDER, body
from tests.http.test_admin import make_admin
from tests.services import client_of

YEAR = timedelta(days=400)
WELL = {"message": "操作成功"}
PATH = "/admin/users/ann/check-in/reset"


class Clock:
    """The system clock plus `ahead`."""

    ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("huajuan.bootstrap.now", clock)
    return clock


@pytest_asyncio.fixture
async def client(clock: Clock, database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(database_url) as client:
        for name in ("ann", "ada"):
            form = {"username": name, "email": f"{name}@example.org", "password": "secret"}
            assert (await client.post("/register", json=form)).status_code == 200
        await make_admin(database_url, "ada")
        yield client


async def sits_down(client: httpx.AsyncClient, name: str) -> dict[str, str]:
    reply = await client.post("/login", json={"username": name, "password": "secret"})
    return {"Authorization": reply.json()["token"]}


async def checks_in(client: httpx.AsyncClient) -> int:
    return (await client.get("/auth/score", headers=await sits_down(client, "ann"))).status_code


async def test_an_admin_lets_somebody_check_in_again(client: httpx.AsyncClient, clock: Clock) -> None:
    clock.ahead = YEAR
    assert await checks_in(client) == 200
    clock.ahead = timedelta()
    assert await checks_in(client) == 400
    ada = await sits_down(client, "ada")
    reply = await client.post(PATH, json={"reason": "the clock was wrong"}, headers=ada)
    assert (reply.status_code, body(reply)) == (200, WELL)
    assert [await checks_in(client), await checks_in(client)] == [200, 400]
    lines = (await client.get("/admin/users/ann/timeline", headers=ada)).json()["timeline"]
    line = next(line for line in lines if "check-in reset" in line["en"])
    assert line["en"] == "had the check-in reset and may check in again: the clock was wrong (by ada)"
    assert line["zh"] == "签到记录被重置，可重新签到：the clock was wrong（操作者：ada）"
    points = (await client.get("/admin/users/ann/points", headers=ada)).json()
    reset = next(entry for entry in points["entries"] if entry["what"] == "check_in_reset")
    assert (reset["change"], reset["balance"], reset["actor"]) == (0, 100, "ada")
    assert reset["reason"] == "the clock was wrong"
    assert points["agrees"] is True


async def test_a_reset_is_refused_like_its_neighbours(client: httpx.AsyncClient) -> None:
    ada, ann = await sits_down(client, "ada"), await sits_down(client, "ann")
    refused = [
        (PATH, ada, {}, 400, {"message": "缺少原因"}),
        (PATH, ada, {"reason": 5}, 400, {"message": "请求数据格式错误"}),
        (PATH.replace("ann", "nobody"), ada, {"reason": "x"}, 404, {"message": "用户不存在"}),
        (PATH, ann, {"reason": "x"}, 403, {"message": "需要管理员权限"}),
        (PATH, {}, {"reason": "x"}, 401, {"message": "请求头中缺少Token"}),
    ]
    for path, headers, form, status, said in refused:
        reply = await client.post(path, json=form, headers=headers)
        assert (reply.status_code, body(reply)) == (status, said)


async def test_a_picture_that_is_drawn_after_the_clock_went_back_is_behind_the_cursor(
    client: httpx.AsyncClient, clock: Clock
) -> None:
    await checks_in(client)
    ann = await sits_down(client, "ann")
    for back in (timedelta(), timedelta(), timedelta(minutes=-59)):
        clock.ahead = back
        assert (await client.post("/auth/generate", json=ORDER, headers=ann)).status_code == 200
    first = await client.get("/image/all?limit=1")
    after = httpx.URL(first.links["next"]["url"]).params["after"]
    seen = [first.json()["images"][0]["id"]]
    rest = (await client.get("/image/all", params={"after": after})).json()["images"]
    assert len(seen + [image["id"] for image in rest]) == 3
    assert [image["id"] for image in rest] == sorted(image["id"] for image in rest)


async def test_metrics_tell_how_far_the_clock_is_behind(client: httpx.AsyncClient, clock: Clock) -> None:
    clock.ahead = YEAR
    await checks_in(client)
    clock.ahead = timedelta()
    metrics = (await client.get("/metrics")).text
    line = next(x for x in metrics.splitlines() if x.startswith("huajuan_clock_behind_seconds{"))
    assert float(line.rpartition(" ")[2]) == pytest.approx(YEAR.total_seconds(), abs=600)
