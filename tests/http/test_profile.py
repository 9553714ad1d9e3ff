"""Profiles over HTTP: avatars in both spellings, updates all or nothing, public fields of all users."""

from typing import Any

import httpx
import pytest

from tests.http.conftest import Person, body

pytestmark = pytest.mark.asyncio(loop_scope="module")
ME = "https://example.org/me.png"


@pytest.mark.parametrize("spelling", ["avatar", "avator"])
async def test_setting_and_getting_an_avatar(
    client: httpx.AsyncClient, person: Person, spelling: str
) -> None:
    ann = await person()
    assert body(await client.get(f"/auth/get{spelling}", headers=ann)) == {"msg": "获取头像成功", "data": ""}
    for url in (ME, ""):
        reply = await client.post(f"/auth/set{spelling}", json={"url": url}, headers=ann)
        assert (reply.status_code, body(reply)) == (200, {"msg": "头像更新成功", "data": url})
        assert body(await client.get("/auth/getavatar", headers=ann))["data"] == url
        assert body(await client.get("/auth/user/info", headers=ann))["user"]["avatar_url"] == url


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        (b"{", "请求数据格式错误"), (b"{}", "请求数据格式错误"), (b'{"url":7}', "请求数据格式错误"),
        (b'{"url":null}', "请求数据格式错误"), (b'{"url":"javascript:alert(1)"}', "头像地址不合法"),
    ],
)  # fmt: skip
async def test_a_refused_avatar_changes_nothing(
    client: httpx.AsyncClient, person: Person, sent: bytes, text: str
) -> None:
    ann = await person()
    await client.post("/auth/setavatar", json={"url": ME}, headers=ann)
    reply = await client.post("/auth/setavatar", content=sent, headers=ann)
    assert (reply.status_code, body(reply)) == (400, {"msg": text, "data": None})
    assert body(await client.get("/auth/getavatar", headers=ann))["data"] == ME


async def test_login_tells_the_avatar(client: httpx.AsyncClient, person: Person) -> None:
    ann = await person("avatar-bearer")
    await client.post("/auth/setavatar", json={"url": ME}, headers=ann)
    reply = await client.post("/login", json={"username": "avatar-bearer", "password": "secret"})
    assert body(reply)["avatar"] == ME


def refused(error: str) -> tuple[int, dict[str, Any]]:
    return 500, {"message": "更新用户信息失败", "error": error}


DONE = 200, {"message": "用户信息更新成功"}
UPDATES: dict[str, tuple[Any, tuple[int, dict[str, Any]]]] = {
    "nothing": ({}, DONE),
    "what is ignored": ({"id": 1, "score": 9, "create_time": "x", "token": "x", "other": [1]}, DONE),
    "null counts as absent": ({"email": None, "password": None, "username": None}, DONE),
    "any username": ({"username": "me"}, refused("用户名不可修改")),
    "username of another type": ({"username": 7}, refused("用户名不可修改")),
    "no email": ({"email": ""}, refused("邮箱为空")),
    "bad email": ({"email": "x"}, refused("邮箱格式不正确")),
    "taken email": ({"email": "Taken@example.org"}, refused("邮箱已存在")),
    "short password": ({"password": "12345"}, refused("密码少于6位")),
    "bad avatar": ({"avatar_url": "x"}, refused("头像地址不合法")),
    "bad avator": ({"avator_url": "x"}, refused("头像地址不合法")),
    "a list": ([], (400, {"message": "请求数据格式错误", "error": "请求数据格式错误"})),
    "email a number": ({"email": 7}, (400, {"message": "请求数据格式错误", "error": "请求数据格式错误"})),
}


@pytest.mark.parametrize("row", UPDATES)
async def test_update(client: httpx.AsyncClient, person: Person, row: str) -> None:
    await client.post(
        "/register", json={"username": "taken", "email": "taken@example.org", "password": "secret"}
    )
    sent, (status, expected) = UPDATES[row]
    reply = await client.put("/auth/user/update", json=sent, headers=await person())
    assert (reply.status_code, body(reply)) == (status, expected)


async def test_a_refused_update_changes_nothing(client: httpx.AsyncClient, person: Person) -> None:
    ann = await person()
    before = body(await client.get("/auth/user/info", headers=ann))
    changes = {"email": "fresh@example.org", "avatar_url": ME, "password": "x"}
    assert (await client.put("/auth/user/update", json=changes, headers=ann)).status_code == 500
    assert body(await client.get("/auth/user/info", headers=ann)) == before


async def test_an_update_shows_at_once(client: httpx.AsyncClient, person: Person) -> None:
    ann = await person("updater")
    for changes in ({"email": "updated@example.org", "avator_url": ME}, {"password": "another"}):
        assert (await client.put("/auth/user/update", json=changes, headers=ann)).status_code == 200
    assert (await client.get("/auth/user/info", headers=ann)).status_code == 401
    reply = await client.post("/login", json={"username": "updater", "password": "another"})
    ann = {"Authorization": reply.json()["token"]}
    user = body(await client.get("/auth/user/info", headers=ann))["user"]
    assert (user["email"], user["avatar_url"]) == ("updated@example.org", ME)
    for password, status in (("secret", 401), ("another", 200)):
        reply = await client.post("/login", json={"username": "updater", "password": password})
        assert reply.status_code == status


async def test_everybody_is_listed_without_what_is_private(client: httpx.AsyncClient, person: Person) -> None:
    for name in ("listed-a", "listed-b"):
        await person(name)
    reply = body(await client.get("/user/all"))
    assert reply["message"] == "获取用户列表成功"
    assert all(list(user) == ["id", "username", "avatar_url", "create_time"] for user in reply["users"])
    ids = [user["id"] for user in reply["users"]]
    assert ids == sorted(ids)
    assert {"listed-a", "listed-b"} <= {user["username"] for user in reply["users"]}


async def test_everybody_is_paged(client: httpx.AsyncClient, person: Person) -> None:
    await person()
    await person()
    first = await client.get("/user/all?limit=1")
    assert len(body(first)["users"]) == 1
    link = first.headers["link"].removeprefix("<http://pictures.example").removesuffix('>; rel="next"')
    second = body(await client.get(link))
    assert second["users"][0]["id"] > first.json()["users"][0]["id"]
    for bad in ("limit=x", "after=x", "limit=1&limit=2"):
        reply = await client.get(f"/user/all?{bad}")
        assert (reply.status_code, body(reply)["error"]) == (400, bad.split("=")[0])
