"""The first run of a request removed the row that its second run looks up: it is found in the log."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from huajuan.jobs.queue import DispatchLimits
from huajuan.projections.likes import LIKES
from huajuan.projections.rebuild.process import RebuildProcesses
from tests.http.conftest import ORDER, body
from tests.http.keys import GENERATE, Headers, Send, a_person, die_before_the_reply, facts, fresh, rows, send
from tests.http.test_admin import make_admin
from tests.http.test_idempotent_reruns import twice
from tests.jobs.fake_server import FakeInferenceServer
from tests.services import client_of, until

SWIFT = DispatchLimits(wait_poll_seconds=0.02)


@pytest.fixture
async def client(database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(database_url, dispatch=SWIFT) as client:
        yield client


@pytest.fixture
async def ann(client: httpx.AsyncClient) -> Headers:
    return await a_person(client, checked_in=True)


async def a_picture(client: httpx.AsyncClient, who: Headers) -> dict[str, Any]:
    made: dict[str, Any] = (await client.post("/auth/generate", json=ORDER, headers=who)).json()
    return made


async def favorite_of(client: httpx.AsyncClient, who: Headers, image: int) -> int:
    added = await client.post("/auth/addFavoritedImage", json={"id": image}, headers=who)
    assert added.status_code == 200
    told = (await client.get("/auth/user/favoritedimages", headers=who)).json()["images"]
    return int(next(one["id"] for one in told if one["image_id"] == image))


async def test_a_favorite_taken_back_by_its_own_id(
    client: httpx.AsyncClient, ann: Headers, database_url: str
) -> None:
    image = await a_picture(client, ann)
    for again in range(2):  # two event types: added, and added again
        number = await favorite_of(client, ann, image["id"])
        remove: Send = ("DELETE", "/auth/deleteFavoritedImage", {"params": {"id": number}})
        rows(database_url, "DELETE FROM operations.idempotency")
        first, second = await twice(client, database_url, remove, ann)
        assert first == second
        assert facts(database_url, "favorite.removed") == again + 1
        other = await send(client, remove, "another", ann)
        assert (other.status_code, body(other)) == (409, {"message": "该图像未被收藏过"})


async def test_what_came_after_the_first_run_is_not_undone(
    client: httpx.AsyncClient, ann: Headers, database_url: str
) -> None:
    """A favorite is removed and added again with a new id; a repeat of the removal leaves the new one."""
    image = await a_picture(client, ann)
    remove: Send = (
        "DELETE", "/auth/deleteFavoritedImage",
        {"params": {"id": await favorite_of(client, ann, image["id"])}},
    )  # fmt: skip
    assert (await send(client, remove, "k", ann)).status_code == 200
    number = await favorite_of(client, ann, image["id"])
    die_before_the_reply(database_url)
    assert [(await send(client, remove, key, ann)).status_code for key in ("k", "new")] == [200, 409]
    told = (await client.get("/auth/user/favoritedimages", headers=ann)).json()["images"]
    assert [one["id"] for one in told] == [number]


async def test_nobody_else_s_favorite_and_nothing_else_is_found(
    client: httpx.AsyncClient, ann: Headers, database_url: str
) -> None:
    image = await a_picture(client, ann)
    number = await favorite_of(client, ann, image["id"])
    ben = await a_person(client, "ben")
    for who, given in ((ben, number), (ann, image["id"]), (ann, 1), (ann, 10**15)):
        remove: Send = ("DELETE", "/auth/deleteFavoritedImage", {"params": {"id": given}})
        assert (await send(client, remove, "k", who)).status_code == 409
    assert facts(database_url, "favorite.removed") == 0


async def test_a_picture_deleted_since_does_not_change_what_was_done(
    client: httpx.AsyncClient, ann: Headers, database_url: str
) -> None:
    images = [await a_picture(client, ann) for _ in range(4)]
    urls = [image["image_url"] for image in images]
    for url in (urls[1], urls[3]):
        await client.post("/auth/like", json={"url": url}, headers=ann)
        await client.post("/auth/addFavoritedImage", json={"url": url}, headers=ann)
    acts: list[Send] = [
        ("POST", "/auth/like", {"json": {"url": urls[0]}}),
        ("DELETE", "/auth/like", {"params": {"url": urls[1]}}),
        ("POST", "/auth/addFavoritedImage", {"json": {"id": images[2]["id"]}}),
        ("POST", "/auth/addFavoritedImage", {"json": {"url": urls[0]}}),
        ("DELETE", "/auth/deleteFavoritedImage", {"params": {"url": urls[3]}}),
    ]
    firsts = [await send(client, act, str(n), ann) for n, act in enumerate(acts)]
    await client.post("/auth/user/deleteImages", json={"urls": urls}, headers=ann)
    die_before_the_reply(database_url)
    seconds = [await send(client, act, str(n), ann) for n, act in enumerate(acts)]
    assert [reply.status_code for reply in firsts] == [reply.status_code for reply in seconds] == [200] * 5
    assert fresh(seconds) == seconds
    news = [await send(client, act, f"new-{n}", ann) for n, act in enumerate(acts)]
    assert [reply.status_code for reply in news] == [404] * 5


async def test_one_s_last_points_spent_and_then_no_painter(database_url: str) -> None:
    """The first run spent the last points; the second one returns its picture, not "insufficient points"."""
    host = FakeInferenceServer()
    async with client_of(database_url, host, dispatch=SWIFT) as client:
        ann = await a_person(client, checked_in=True)
        for number in range(4):
            assert (await send(client, GENERATE, str(number), ann)).status_code == 200
        first = await send(client, GENERATE, "k", ann)
        assert (first.status_code, first.json()["score"]) == (200, 0)
        die_before_the_reply(database_url)
        nobody = DispatchLimits(jobs_per_account_max=0, wait_poll_seconds=0.02)
        async with client_of(database_url, host, dispatch=nobody) as full:
            second = await send(full, GENERATE, "k", ann)
            refused = await send(full, GENERATE, "new", ann)
        assert (second.status_code, second.json(), fresh([second])) == (200, first.json(), [second])
        assert (refused.status_code, refused.json()["message"]) == (401, "用户积分不足")


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Started rebuilds, which run no process: the table and the position of the request."""
    begun: list[tuple[str, int]] = []

    async def start(_: RebuildProcesses, name: str, record_request: Any) -> bool:
        begun.append((name, await record_request()))
        return True

    monkeypatch.setattr(RebuildProcesses, "start", start)
    return begun


async def test_a_rebuild_is_asked_for_once_and_begun_once(
    client: httpx.AsyncClient, ann: Headers, database_url: str, launched: list[tuple[str, int]]
) -> None:
    await make_admin(database_url, "ann")
    ask: Send = ("POST", "/admin/projections/likes/rebuild", {"json": {"reason": "x"}})
    first = await send(client, ask, "k", ann)
    # The process died before a child process recorded the rebuild, so the next run starts the child again.
    die_before_the_reply(database_url)
    second = await send(client, ask, "k", ann)
    assert (first.status_code, second.status_code, launched[0]) == (200, 200, launched[1])
    note = (
        "INSERT INTO operations.rebuilds (projections, requested_at_position, outcome) "
        f"VALUES (ARRAY['{LIKES.schema}'], %s, 'done')"
    )
    rows(database_url, note, launched[0][1])
    die_before_the_reply(database_url)
    third = await send(client, ask, "k", ann)
    assert (third.status_code, third.json()["projection"]["rebuilding"], len(launched)) == (200, False, 2)
    assert facts(database_url, "read_table.rebuild_asked") == 1
    assert (await send(client, ask, "new", ann)).status_code == 200
    assert (facts(database_url, "read_table.rebuild_asked"), len(launched)) == (2, 3)


async def test_a_refusal_that_says_when_to_come_back_is_not_kept(
    client: httpx.AsyncClient, ann: Headers, database_url: str, launched: list[tuple[str, int]]
) -> None:
    await make_admin(database_url, "ann")
    ask: Send = ("POST", "/admin/projections/likes/rebuild", {"json": {"reason": "x"}})
    runs = [True, False]

    async def start(_: RebuildProcesses, __: str, record_request: Any) -> bool:
        return not runs.pop(0) and bool(await record_request())

    with pytest.MonkeyPatch.context() as busy:
        busy.setattr(RebuildProcesses, "start", start)
        refused = await send(client, ask, "k", ann)
        assert (refused.status_code, body(refused)) == (409, {"message": "请求正在处理中"})
        assert int(refused.headers["retry-after"]) > 0
        begun = await send(client, ask, "k", ann)
    assert (begun.status_code, fresh([begun])) == (200, [begun])


async def test_logging_in_again_gives_another_token_as_good(
    client: httpx.AsyncClient, database_url: str
) -> None:
    """A login appends no event, so the second run makes a new token."""
    await a_person(client, "ben")
    form = {"username": "ben", "password": "secret"}
    login: Send = ("POST", "/login", {"json": form})
    tokens = [body["token"] for body in await twice(client, database_url, login, {})]
    assert tokens[0] != tokens[1]
    for token in tokens:
        seen = await client.get("/auth/user/info", headers={"Authorization": token})
        assert seen.json()["user"]["username"] == "ben"


async def test_a_job_given_up_is_an_effect_and_its_reply_stays(database_url: str) -> None:
    """The failed job is in the log and its points were returned: each repeat gets the same error."""
    host = FakeInferenceServer()
    host.gate.clear()
    hasty = DispatchLimits(wait_poll_seconds=0.02, overdue_interval_seconds=0.05, job_seconds_max=1)
    async with client_of(database_url, host, dispatch=hasty) as client:
        ann = await a_person(client, checked_in=True)
        failed = await send(client, GENERATE, "k", ann)
        host.gate.set()
        replayed = await send(client, GENERATE, "k", ann)
        die_before_the_reply(database_url)
        second = await send(client, GENERATE, "k", ann)
        for reply in (failed, replayed, second):
            assert (reply.status_code, reply.json()["message"]) == (500, "图片生成失败")
        assert fresh([failed, replayed, second]) == [failed, second]
        ends = ("image.requested", "image.drawing_failed", "account.points_held", "account.points_returned")
        assert [facts(database_url, topic) for topic in ends] == [1, 1, 1, 1]
        assert (await send(client, GENERATE, "new", ann)).status_code == 200


async def test_that_nobody_draws_is_not_kept(database_url: str) -> None:
    """No event was appended: a repeat with the same key is drawn as soon as there is a server."""
    host = FakeInferenceServer()
    async with client_of(database_url, host, dispatch=SWIFT) as client:
        ann = await a_person(client, checked_in=True)
        with pytest.MonkeyPatch.context() as away:
            away.setattr("huajuan.jobs.servers.ServerPool.__len__", lambda _: 0)
            refused = [await send(client, GENERATE, "k", ann) for _ in range(2)]
        for reply in refused:
            assert (reply.status_code, reply.json()["message"]) == (503, "图片生成失败")
        assert (fresh(refused), facts(database_url, "account.points_held")) == (refused, 0)
        drawn = await send(client, GENERATE, "k", ann)
        assert (drawn.status_code, fresh([drawn])) == (200, [drawn])
        await until(lambda: facts(database_url, "image.drawn") == 1)
