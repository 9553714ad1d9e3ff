"""The wire contract, row by row: the request, the status and the texts."""

from typing import Any

import httpx
import pytest

from tests.http.conftest import ORDER, Person, body
from tests.services import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

TAKEN = {"username": "taken", "email": "taken@example.org", "password": "secret"}
FORM = {"username": "new", "email": "new@example.org", "password": "123456"}
MALFORMED: list[Any] = [
    b"", b"{", b"[]", b'"x"', b"null", b"\xff", b'{"username":"\\ud800"}', b'{"username":"a\\u0000b"}',
    b"[" * 5000, b'{"a":' * 5000, b'{"username":NaN}',
]  # fmt: skip


def failed(error: str) -> dict[str, Any]:
    return {"message": "用户创建失败", "error": error}


REGISTER = {
    "no username": ({"email": "a@b.cc", "password": "123456"}, 500, failed("名字为空")),
    "null counts as absent": (FORM | {"username": None}, 500, failed("名字为空")),
    "empty username": (FORM | {"username": "", "email": "", "password": ""}, 500, failed("名字为空")),
    "no email": (FORM | {"email": "", "password": ""}, 500, failed("邮箱为空")),
    "short password": (FORM | {"password": "12345", "email": "x"}, 500, failed("密码少于6位")),
    "bad email": (FORM | {"email": "x"}, 500, failed("邮箱格式不正确")),
    "name taken": (FORM | {"username": "taken", "email": "TAKEN@example.org"}, 500, failed("用户名已存在")),
    "email taken": (FORM | {"email": "TAKEN@Example.org"}, 500, failed("邮箱已存在")),
    "long name": (FORM | {"username": "x" * 31}, 500, failed("名字不合法")),
    "control character": (FORM | {"username": "a\u0007b"}, 500, failed("名字不合法")),
    "a name that turns its line round": (FORM | {"username": "a\u202eb"}, 500, failed("名字不合法")),
    **{
        f"a name with {name!a}": (FORM | {"username": name}, 500, failed("名字不合法"))
        for name in (
            "a/b", "a\\b", "a?b", "a#b", "a%b", ".", "..", " a", "a\u3000", "czh0\u2060", "\u3164", "a\ufe0f",
            "a\u2800b", "a\U000e0041", "a\U000e0fff", "\u0301a", "a\ue000", "e\u0301" * 31,
            "a\u0315\u0300" * 50_000,
        )
    },
    "another spelling of a name that is taken": (
        FORM | {"username": "tàken", "email": "x@y.zz"}, 500, failed("用户名已存在"),
    ),
    "a short password in many code points": (FORM | {"password": "e\u0301" * 5}, 500, failed("密码少于6位")),
    "a long password in many code points": (
        {"username": "long", "email": "long@example.org", "password": "e\u0301" * 1024}, 200,
        {"message": "注册成功"},
    ),
    "username a number": (FORM | {"username": 1}, 400, {"message": "请求数据格式错误"}),
    "password a list": (FORM | {"password": []}, 400, {"message": "请求数据格式错误"}),
    "password too long": (FORM | {"password": "x" * 1025}, 400, {"message": "请求数据格式错误"}),
    "unknown keys are ignored": (
        FORM | {"id": 3, "score": 9, "deep": {"a": [1]}}, 200, {"message": "注册成功"},
    ),
    "64 hex digits as the password": (
        {"username": "hex", "email": "hex@example.org", "password": "e" * 64}, 200, {"message": "注册成功"},
    ),
    "30 characters of Chinese": (
        {"username": "画" * 30, "email": "hua@例子.广告", "password": "密码密码密码"}, 200,
        {"message": "注册成功"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("row", REGISTER)
async def test_register(client: httpx.AsyncClient, row: str) -> None:
    await client.post("/register", json=TAKEN)
    await client.post("/register", json=TAKEN | {"username": "ta\u0300ken", "email": "grave@example.org"})
    sent, status, expected = REGISTER[row]
    reply = await client.post("/register", json=sent)
    assert (reply.status_code, body(reply)) == (status, expected)


@pytest.mark.parametrize("path", ["/register", "/login"])
@pytest.mark.parametrize("raw", MALFORMED, ids=range(len(MALFORMED)))
async def test_a_body_that_cannot_be_read(client: httpx.AsyncClient, path: str, raw: bytes) -> None:
    reply = await client.post(path, content=raw)
    assert (reply.status_code, body(reply)) == (400, {"message": "请求数据格式错误"})


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "nonsense", ""])
async def test_the_content_type_is_not_looked_at(client: httpx.AsyncClient, content_type: str) -> None:
    await client.post("/register", json=TAKEN)
    raw = b'{"username":"taken","password":"secret"}'
    reply = await client.post("/login", content=raw, headers={"Content-Type": content_type})
    assert reply.status_code == 200


LOGIN = {
    "unknown": ({"username": "nobody", "password": "secret"}, 401, {"message": "用户不存在"}),
    "other case": ({"username": "Taken", "password": "secret"}, 401, {"message": "用户不存在"}),
    "nothing given": ({}, 401, {"message": "用户不存在"}),
    "wrong": ({"username": "taken", "password": "Secret"}, 401, {"message": "密码错误"}),
    "no password": ({"username": "taken", "password": None}, 401, {"message": "密码错误"}),
    "wrong type": ({"username": "taken", "password": 1}, 400, {"message": "请求数据格式错误"}),
}


@pytest.mark.parametrize("row", LOGIN)
async def test_login_refused(client: httpx.AsyncClient, row: str) -> None:
    await client.post("/register", json=TAKEN)
    sent, status, expected = LOGIN[row]
    reply = await client.post("/login", json=sent)
    assert (reply.status_code, body(reply)) == (status, expected)


async def test_login(client: httpx.AsyncClient) -> None:
    await client.post("/register", json=TAKEN)
    reply = body(await client.post("/login", json=TAKEN))
    assert reply.pop("token").count(".") == 2
    assert reply == {"message": "登录成功", "avatar": ""}


GENERATE: dict[str, tuple[dict[str, Any], str]] = {
    "no prompt": ({"prompt": None}, "缺乏提示词"),
    "empty prompt": ({"prompt": "", "width": 0}, "缺乏提示词"),
    "prompt a number": ({"prompt": 5}, "缺乏提示词"),
    "long prompt": ({"prompt": "日" * 4001, "width": 0}, "提示词过长"),
    "narrow": ({"width": 127, "height": 0}, "宽度不在范围内"),
    "wide": ({"width": 1025}, "宽度不在范围内"),
    "width text": ({"width": "220"}, "宽度不在范围内"),
    "width a fraction": ({"width": 220.0}, "宽度不在范围内"),
    "width true": ({"width": True}, "宽度不在范围内"),
    "width huge": ({"width": 10**30}, "宽度不在范围内"),
    "low": ({"height": 127, "steps": 0}, "高度不在范围内"),
    "height null": ({"height": None}, "高度不在范围内"),
    "no steps": ({"steps": 0, "sampling_method": ""}, "步数不在范围内"),
    "many steps": ({"steps": 101}, "步数不在范围内"),
    "other method": ({"sampling_method": "ddim", "seed": ""}, "采样方法不在范围内"),
    "method null": ({"sampling_method": None}, "采样方法不在范围内"),
    "method empty": ({"sampling_method": ""}, "采样方法不在范围内"),
    "method a list": ({"sampling_method": ["DDIM"]}, "采样方法不在范围内"),
    "no seed": ({"seed": None}, "缺乏种子"),
    "empty seed": ({"seed": ""}, "缺乏种子"),
    "seed a fraction": ({"seed": 1.5}, "缺乏种子"),
}


@pytest.mark.parametrize("row", GENERATE)
async def test_generate_names_the_first_field_that_fails(
    client: httpx.AsyncClient, person: Person, row: str
) -> None:
    changes, text = GENERATE[row]
    reply = await client.post(
        "/auth/generate", json=ORDER | changes, headers=await person("painter" + str(hash(row))[:9])
    )
    assert (reply.status_code, body(reply)) == (400, {"success": False, "message": text})


@pytest.mark.parametrize("prefer", [{}, {"Prefer": "respond-async"}])
async def test_an_absent_sampling_method_means_ddim(
    client: httpx.AsyncClient, person: Person, prefer: dict[str, str]
) -> None:
    ann = await person(checked_in=True)
    order = {key: value for key, value in ORDER.items() if key != "sampling_method"}
    asked = await client.post("/auth/generate", json=order, headers=ann | prefer)
    assert asked.status_code in {200, 202}

    async def shown() -> list[Any]:
        images: list[Any] = body(await client.get("/auth/user/images", headers=ann))["images"]
        return images

    async def is_drawn() -> bool:
        return bool(await shown())

    await until(is_drawn)
    (image,) = await shown()
    assert image["sampling_method"] == "DDIM"
    assert image["params"].endswith("SamplingMethod: DDIM")
    query = "sampling_method=DDIM"
    assert body(await client.get(f"/auth/user/images?{query}", headers=ann))["images"] == [image]


@pytest.mark.parametrize("raw", MALFORMED, ids=range(len(MALFORMED)))
async def test_generate_with_a_body_that_cannot_be_read(
    client: httpx.AsyncClient, person: Person, raw: bytes
) -> None:
    reply = await client.post("/auth/generate", content=raw, headers=await person())
    assert (reply.status_code, body(reply)) == (400, {"success": False, "message": "请求数据格式错误"})


async def test_generate_without_points(client: httpx.AsyncClient, person: Person) -> None:
    reply = await client.post("/auth/generate", json=ORDER, headers=await person())
    assert (reply.status_code, body(reply)) == (401, {"success": False, "message": "用户积分不足"})


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_score(client: httpx.AsyncClient, person: Person, method: str) -> None:
    ann = await person()
    first = await client.request(method, "/auth/score", headers=ann)
    assert (first.status_code, body(first)) == (
        200, {"success": True, "message": "积分记录更新成功!用户当前积分为100", "score": 100},
    )  # fmt: skip
    again = await client.request(method, "/auth/score", headers=ann)
    assert (again.status_code, body(again)) == (
        400, {"success": False, "message": "您今天已经签到过了", "score": 100},
    )  # fmt: skip
    assert {reply.headers["cache-control"] for reply in (first, again)} == {"no-store"}


async def test_points(client: httpx.AsyncClient, person: Person) -> None:
    ann = await person(checked_in=True)
    reply = await client.get("/auth/points", headers=ann)
    assert (reply.status_code, body(reply)) == (200, {"message": "操作成功", "score": 100, "held": 0})
    reply = await client.get("/auth/points/history", headers=ann)
    (entry,) = body(reply)["history"]
    assert entry | {"time": ""} == {
        "time": "", "change": 100, "balance": 100, "reason": "check_in", "image_id": None, "picture": None,
        "actor": None, "status": None, "generation_id": None,
    }  # fmt: skip
