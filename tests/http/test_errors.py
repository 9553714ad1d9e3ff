"""Every error response has the envelope and no internal details."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from huajuan.auth.passwords import Passwords
from huajuan.event_store.errors import DatabaseBusy, DatabaseUnavailable
from huajuan.event_store.store import EventStore
from huajuan.http.middleware.request_id import identify_requests
from huajuan.http.middleware.request_metrics import WorkerMetrics
from huajuan.projections.engine.table import ReadTables
from huajuan.response_cache.cache import ResponseCache
from huajuan.runtime.periodic import TooManyWaiting
from tests.http.conftest import ORDER, Person, body
from tests.services import until

pytestmark = pytest.mark.asyncio(loop_scope="module")
SOMEBODY = {"username": "somebody", "email": "somebody@example.org", "password": "secret"}


@pytest.mark.parametrize(
    "path", ["/nothing", "/auth/nothing", "/admin/nothing", "/", "/%ff", "/images", "/images/"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_an_unknown_path_comes_before_any_token(
    client: httpx.AsyncClient, path: str, method: str
) -> None:
    reply = await client.request(method, path)
    assert (reply.status_code, body(reply)) == (404, {"message": "接口不存在"})


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/register"),
        ("PUT", "/login"),
        ("DELETE", "/auth/score"),
        ("GET", "/auth/generate"),
        ("POST", "/healthz"),
    ],
)
async def test_a_known_path_with_the_wrong_method(client: httpx.AsyncClient, method: str, path: str) -> None:
    reply = await client.request(method, path)
    assert (reply.status_code, body(reply)) == (405, {"message": "不支持的请求方法"})


@pytest.mark.parametrize("path", ["/register", "/login", "/auth/generate"])
async def test_a_body_over_the_limit(client: httpx.AsyncClient, person: Person, path: str) -> None:
    raw = b'{"prompt":"' + b"x" * (1 << 20) + b'"}'
    reply = await client.post(path, content=raw, headers=await person())
    assert (reply.status_code, body(reply)) == (413, {"message": "请求体过大"})


async def test_a_body_over_the_limit_that_does_not_say_how_long_it_is(client: httpx.AsyncClient) -> None:
    async def pieces() -> Any:
        for _ in range(40):
            yield b" " * (1 << 15)

    reply = await client.post("/register", content=pieces())
    assert (reply.status_code, body(reply)) == (413, {"message": "请求体过大"})


async def test_something_unplanned_gives_an_id_and_nothing_else(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def bug(*_: object) -> None:
        raise ZeroDivisionError("secret detail in /srv/app.py")

    monkeypatch.setattr(EventStore, "find", bug)
    reply = await client.post("/login", json=SOMEBODY, headers={"X-Request-Id": "trouble-1"})
    assert (reply.status_code, body(reply)) == (500, {"message": "服务器内部错误", "request_id": "trouble-1"})


@pytest.mark.parametrize("error", [DatabaseBusy, TooManyWaiting])
async def test_too_much_at_once_is_a_503_with_a_time_to_come_back(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    async def busy(*_: object) -> None:
        raise error

    monkeypatch.setattr(Passwords, "hash", busy)
    reply = await client.post("/register", json=SOMEBODY)
    assert (reply.status_code, body(reply)) == (503, {"message": "服务繁忙，请稍后再试"})
    assert reply.headers["retry-after"] == "1"


AWAY = {
    ("POST", "/register"): (500, {"message": "用户创建失败", "error": "数据库暂时不可用"}),
    ("POST", "/login"): (500, {"message": "数据库查询错误"}),
    ("GET", "/auth/score"): (401, {"success": False, "message": "积分记录创建失败"}),
    ("POST", "/auth/generate"): (401, {"success": False, "message": "用户积分更新失败"}),
    ("GET", "/auth/user/info"): (500, {"message": "查询失败", "error": "数据库暂时不可用"}),
    ("GET", "/auth/user/images"): (500, {"message": "查询用户图像失败", "error": "数据库暂时不可用"}),
}


@pytest.mark.parametrize("route", AWAY, ids=lambda route: route[1])
async def test_a_database_that_is_away(
    client: httpx.AsyncClient, person: Person, monkeypatch: pytest.MonkeyPatch, route: tuple[str, str]
) -> None:
    ann = await person()
    await client.get("/auth/user/info", headers=ann)

    async def away(*_: object) -> None:
        raise DatabaseUnavailable

    for owner, names in ((EventStore, ("find", "change")), (ReadTables, ("all", "all_batched"))):
        for name in names:
            monkeypatch.setattr(owner, name, away)
    monkeypatch.setattr(ResponseCache, "get", lambda *_: None)
    sent = ORDER if route[1] == "/auth/generate" else SOMEBODY
    reply = await client.request(*route, json=sent, headers=ann)
    assert (reply.status_code, body(reply)) == AWAY[route]


async def test_a_success_is_told_though_the_tables_are_late(
    client: httpx.AsyncClient, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def late(*_: object, **__: object) -> bool:
        return False

    monkeypatch.setattr("huajuan.projections.engine.runner.Projector.wait_for_position", late)
    ann = await person(checked_in=True)
    assert (await client.post("/auth/generate", json=ORDER, headers=ann)).status_code == 200


@pytest.mark.parametrize("given", ["abc-123", "a" * 128, "0HN7:00000001"])
async def test_a_sane_request_id_is_echoed(client: httpx.AsyncClient, given: str) -> None:
    for path in ("/healthz", "/nothing"):
        reply = await client.get(path, headers={"X-Request-Id": given})
        assert reply.headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "a" * 129, "two words", 'quote"', "<script>"])
async def test_any_other_request_id_is_replaced(client: httpx.AsyncClient, given: str) -> None:
    made = (await client.get("/healthz", headers={"X-Request-Id": given})).headers["x-request-id"]
    assert made != given
    assert len(made) == 32


async def test_many_requests_have_many_ids(client: httpx.AsyncClient) -> None:
    replies = await asyncio.gather(*(client.get("/healthz") for _ in range(50)))
    assert len({reply.headers["x-request-id"] for reply in replies}) == 50


async def test_a_client_that_goes_away_in_the_middle_of_its_body_is_no_error_of_ours(
    client: httpx.AsyncClient, capsys: pytest.CaptureFixture[str]
) -> None:
    _, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
    said = [capsys.readouterr().err]
    writer.write(b"POST /register HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{}{}")
    await writer.drain()
    writer.close()

    def is_noted() -> bool:
        said.append(capsys.readouterr().err)
        return "/register" in "".join(said[1:])

    await until(is_noted)
    assert "unplanned" not in "".join(said)


async def test_a_request_cut_off_by_a_stopping_server_is_told_to_come_back() -> None:
    sent: list[Any] = []

    async def never(*_: Any) -> Any:
        await asyncio.sleep(3600)

    async def send(message: Any) -> None:
        sent.append(message)

    scope: Any = {"type": "http", "method": "POST", "path": "/auth/generate", "headers": []}
    entered: Any = identify_requests(never, WorkerMetrics())(scope, never, send)
    serving: asyncio.Task[None] = asyncio.create_task(entered)
    await asyncio.sleep(0.01)
    serving.cancel()
    await serving
    assert sent[0]["status"] == 503
    assert json.loads(sent[1]["body"]) == {"code": 503, "message": "服务繁忙，请稍后再试"}
