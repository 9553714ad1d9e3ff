"""The routes for admins: projections, statistics, erasing others. `test_routes.py` checks the access."""

from typing import Any

import httpx
import psycopg
import pytest
import pytest_asyncio

from huajuan.commands.moderation import grant_admin, revoke_admin
from huajuan.projections.likes import LIKES
from huajuan.projections.rebuild.process import RebuildProcesses
from huajuan.projections.registry import PROJECTIONS
from huajuan.projections.users import USERS
from tests.event_store.helpers import log_rows, opened
from tests.http.conftest import Person, body
from tests.services import client_of

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def make_admin(dsn: str, name: str) -> None:
    async with opened(dsn) as store:
        await grant_admin(store, store.stream_ids.account(name), "runs it")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def ada(person: Person, module_database_url: str) -> dict[str, str]:
    headers = await person("ada")
    await make_admin(module_database_url, "ada")
    return headers


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tables of requested rebuilds, which run no process."""
    asked: list[str] = []

    async def start(_: RebuildProcesses, name: str, record_request: Any) -> bool:
        await record_request()
        asked.append(name)
        return True

    monkeypatch.setattr(RebuildProcesses, "start", start)
    return asked


async def test_an_unknown_path_is_404_before_any_token_is_looked_at(client: httpx.AsyncClient) -> None:
    reply = await client.get("/admin/nothing")
    assert (reply.status_code, body(reply)) == (404, {"message": "接口不存在"})
    assert (await client.delete("/admin/projections")).status_code == 405


async def test_a_role_is_gone_in_every_worker_as_soon_as_it_is_revoked(
    client: httpx.AsyncClient, person: Person, module_database_url: str
) -> None:
    ben = await person("ben")
    await make_admin(module_database_url, "ben")
    async with client_of(module_database_url) as elsewhere, opened(module_database_url) as store:
        for worker in (client, elsewhere):
            assert (await worker.get("/admin/projections", headers=ben)).status_code == 200
        await revoke_admin(store, store.stream_ids.account("ben"), "on leave")
        for worker in (client, elsewhere):
            assert (await worker.get("/admin/projections", headers=ben)).status_code == 403


async def test_projections(client: httpx.AsyncClient, ada: dict[str, str]) -> None:
    told = body(await client.get("/admin/projections", headers=ada))
    assert told["message"] == "操作成功"
    assert [one["name"] for one in told["projections"]] == [p.name for p in PROJECTIONS]
    assert (
        told["projections"][0] | {"version": 1, "skips": [], "last_rebuild": None} == told["projections"][0]
    )
    assert told["projections"][0]["moved_at"].endswith("Z")


async def test_a_rebuild_is_put_on_record_and_started(
    client: httpx.AsyncClient, ada: dict[str, str], launched: list[str], module_database_url: str
) -> None:
    reply = await client.post("/admin/projections/likes/rebuild", json={"reason": " mended "}, headers=ada)
    shown = body(reply)["projection"]
    assert (reply.status_code, shown["name"], shown["rebuilding"]) == (200, "likes", True)
    assert launched == ["likes"]
    topic, state = log_rows(module_database_url, "topic, convert_from(state, 'UTF8')::jsonb")[-1]
    assert (topic, state["projection"], state["reason"]) == (
        "read_table.rebuild_asked",
        LIKES.schema,
        "mended",
    )
    assert state["actor"]


async def test_a_second_rebuild_is_refused_while_one_runs(
    client: httpx.AsyncClient, ada: dict[str, str], launched: list[str], module_database_url: str
) -> None:
    with psycopg.connect(module_database_url, autocommit=True) as connection:
        connection.execute(f"SELECT pg_advisory_lock(hashtext('huajuan rebuild {LIKES.schema}'))")
        reply = await client.post("/admin/projections/likes/rebuild", json={"reason": "x"}, headers=ada)
    assert (reply.status_code, body(reply), launched) == (409, {"message": "请求正在处理中"}, [])


REFUSED: dict[str, tuple[str, Any, int, str]] = {
    "no such projection": ("/admin/projections/nonsense/rebuild", {"reason": "x"}, 404, "投影不存在"),
    "nor one to skip in": (f"/admin/projections/{USERS.schema}/skip", {}, 404, "投影不存在"),
    "no reason": ("/admin/projections/users/rebuild", {}, 400, "缺少原因"),
    "blank reason": ("/admin/projections/users/rebuild", {"reason": " "}, 400, "缺少原因"),
    "reason a number": ("/admin/projections/users/rebuild", {"reason": 1}, 400, "请求数据格式错误"),
    "no reason to skip": ("/admin/projections/users/skip", {"position": 1}, 400, "缺少原因"),
    "no position": ("/admin/projections/users/skip", {"reason": "x"}, 400, "请求数据格式错误"),
    "position 0": ("/admin/projections/users/skip", {"position": 0, "reason": "x"}, 400, "请求数据格式错误"),
    "position huge": (
        "/admin/projections/users/skip", {"position": 2**63, "reason": "x"}, 400, "请求数据格式错误",
    ),
    "not stopped": (
        "/admin/projections/users/skip", {"position": 1, "reason": "x"}, 409, "投影并未停在该位置",
    ),
}  # fmt: skip


@pytest.mark.parametrize("row", REFUSED)
async def test_what_cannot_be_done_is_refused_and_not_on_record(
    client: httpx.AsyncClient, ada: dict[str, str], module_database_url: str, launched: list[str], row: str
) -> None:
    path, sent, status, text = REFUSED[row]
    before = len(log_rows(module_database_url))
    reply = await client.post(path, json=sent, headers=ada)
    assert (reply.status_code, body(reply)) == (status, {"message": text})
    assert (len(log_rows(module_database_url)), launched) == (before, [])


async def test_statistics(client: httpx.AsyncClient, ada: dict[str, str]) -> None:
    days = body(await client.get("/admin/statistics", headers=ada))["days"]
    assert sum(day["users"] for day in days) >= 2
    asked = await client.get(
        "/admin/statistics", params={"from": "2000-01-01", "to": "2000-12-31"}, headers=ada
    )
    assert body(asked) == {"message": "操作成功", "days": []}
    same = await client.get(
        "/admin/statistics", params={"from": days[0]["day"], "to": days[-1]["day"]}, headers=ada
    )
    assert body(same)["days"] == days


@pytest.mark.parametrize("name", ["from", "to"])
@pytest.mark.parametrize("value", ["yesterday", "2026-13-01", "20261124", "2026-11-24T00:00:00Z"])
async def test_a_day_that_is_none_is_named(
    client: httpx.AsyncClient, ada: dict[str, str], name: str, value: str
) -> None:
    reply = await client.get("/admin/statistics", params={name: value}, headers=ada)
    assert (reply.status_code, body(reply)) == (400, {"message": "查询参数无效", "error": name})


async def test_an_admin_erases_somebody_by_name(
    client: httpx.AsyncClient, person: Person, ada: dict[str, str]
) -> None:
    ann = await person("erasable")
    query = {"username": "erasable", "isOwn": "true"}
    reply = await client.delete("/auth/root/deleteOneUser", params=query, headers=ada)
    assert (reply.status_code, body(reply)) == (200, {"message": "成功删除用户：erasable"})
    assert (await client.get("/auth/user/info", headers=ann)).status_code == 401
    for name in ("erasable", "nobody ever"):
        reply = await client.delete("/auth/root/deleteOneUser", params={"username": name}, headers=ada)
        assert (reply.status_code, body(reply)) == (404, {"message": "用户不存在"})
    assert (await client.get("/auth/user/info", headers=ada)).status_code == 200
