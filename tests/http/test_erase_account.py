"""Erasing one's own account over HTTP: permission, responses, and the state afterwards."""

import httpx
import pytest

from tests.http.conftest import ORDER, Person, body
from tests.services import client_of, until

pytestmark = pytest.mark.asyncio(loop_scope="module")
ROUTE = "/auth/root/deleteOneUser"
NOT_ROOT = {"message": "非root用户，不可删除其他某个用户", "error": "非root用户，不可删除其他某个用户"}
WHOM = {"message": "查询参数无效", "error": "需要 isOwn=true 或 username"}


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"username": "somebody_else"}, NOT_ROOT),
        ({"username": "somebody_else", "isOwn": "true"}, NOT_ROOT),
        ({}, WHOM),
        ({"isOwn": "false"}, WHOM),
        ({"isOwn": ""}, WHOM),
        ({"isOwn": "TRUE"}, WHOM),
    ],
)
async def test_anything_but_ones_own_clear_wish_erases_nobody(
    client: httpx.AsyncClient, person: Person, query: dict[str, str], said: dict[str, str]
) -> None:
    ann = await person()
    reply = await client.delete(ROUTE, params=query, headers=ann)
    assert (reply.status_code, body(reply)) == (400, said)
    assert (await client.get("/auth/user/info", headers=ann)).status_code == 200


async def test_it_takes_a_token(client: httpx.AsyncClient) -> None:
    reply = await client.delete(ROUTE, params={"isOwn": "true"})
    assert (reply.status_code, body(reply)) == (401, {"message": "请求头中缺少Token"})


async def test_an_erased_person_and_what_was_theirs_are_gone_at_once(
    client: httpx.AsyncClient, person: Person
) -> None:
    ann, ben = await person("leaving"), await person()
    await client.get("/auth/score", headers=ann)
    image = (await client.post("/auth/generate", json=ORDER, headers=ann)).json()
    path = image["image_url"].removeprefix("http://pictures.example")
    for way in ("/auth/like", "/auth/addFavoritedImage"):
        assert (await client.post(way, json={"url": path}, headers=ben)).status_code == 200
    reply = await client.delete(ROUTE, params={"isOwn": "true", "username": "leaving"}, headers=ann)
    assert (reply.status_code, body(reply)) == (200, {"message": "leaving的账号注销成功"})

    after = await client.get("/auth/user/info", headers=ann)
    assert (after.status_code, body(after)) == (401, {"message": "无效的Token"})
    assert "leaving" not in (await client.get("/user/all")).text
    for where in ("/image/all", "/auth/user/favoritedimages", "/auth/imageSquare"):
        assert image["image_url"] not in (await client.get(where, headers=ben)).text
    assert (await client.get("/auth/image", params={"url": path}, headers=ben)).status_code == 404

    async def is_gone() -> bool:
        return (await client.get(path)).status_code == 404

    await until(is_gone)
    form = {"username": "leaving", "email": "other@example.org", "password": "secret"}
    assert (await client.post("/register", json=form)).json()["error"] == "用户名已存在"
    login = await client.post("/login", json=form)
    assert (login.status_code, body(login)) == (401, {"message": "用户不存在"})


async def test_every_worker_refuses_the_token_soon(database_url: str) -> None:
    async with client_of(database_url) as here, client_of(database_url) as there:
        form = {"username": "ann", "email": "ann@example.org", "password": "secret"}
        await here.post("/register", json=form)
        ann = {"Authorization": (await here.post("/login", json=form)).json()["token"]}
        assert (await there.get("/auth/user/info", headers=ann)).status_code == 200
        assert (await here.delete(ROUTE, params={"isOwn": "true"}, headers=ann)).status_code == 200
        assert (await here.get("/auth/user/info", headers=ann)).status_code == 401

        async def is_out() -> bool:
            return (await there.get("/auth/user/info", headers=ann)).status_code == 401

        await until(is_out)
