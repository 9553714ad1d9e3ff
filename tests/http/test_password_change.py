"""A new password: the session that set it continues; a given old password must be right."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from huajuan.auth.rate_limits import LoginAttemptLimits
from tests.http.conftest import body
from tests.http.keys import Send, a_person, die_before_the_reply, facts, fresh, send
from tests.http.past import Headers
from tests.services import client_of

DONE = "用户信息更新成功"
WRONG = {"message": "更新用户信息失败", "error": "密码错误"}
MALFORMED = {"message": "请求数据格式错误", "error": "请求数据格式错误"}
TOO_MANY = {"message": "尝试次数过多，请稍后再试"}
LIMITS = LoginAttemptLimits(account_failures_max=3, address_failures_max=1000)
Clients = tuple[httpx.AsyncClient, httpx.AsyncClient]


@pytest.fixture
async def clients(database_url: str) -> AsyncIterator[Clients]:
    async with client_of(database_url, login=LIMITS) as here, client_of(database_url) as there:
        yield here, there


async def update(client: httpx.AsyncClient, me: Headers, **form: Any) -> httpx.Response:
    return await client.put("/auth/user/update", json=form, headers=me)


async def log_in(client: httpx.AsyncClient, password: str) -> int:
    return (await client.post("/login", json={"username": "ann", "password": password})).status_code


async def status(client: httpx.AsyncClient, me: Headers) -> int:
    return (await client.get("/auth/user/info", headers=me)).status_code


async def test_the_session_goes_on_with_the_token_that_comes_back(clients: Clients) -> None:
    here, there = clients
    old = await a_person(here)
    for form in ({"password": "another"}, {"password": "a third", "old_password": "another"}):
        reply = await update(here, old, **form)
        told = body(reply)
        assert (reply.status_code, told.pop("message"), list(told)) == (200, DONE, ["token"])
        new = {"Authorization": told["token"]}
        assert [await status(client, new) for client in (here, there, here)] == [200] * 3
        assert await status(here, old) == 401
        old = new
    assert [await log_in(here, password) for password in ("secret", "another", "a third")] == [401, 401, 200]
    assert (await here.post("/auth/logout", headers=old)).status_code == 200
    assert await status(here, old) == 401


@pytest.mark.parametrize(
    "form", [{}, {"email": "new@example.org"}, {"password": None}, {"old_password": "x"}]
)
async def test_without_a_new_password_there_is_no_new_token(clients: Clients, form: dict[str, Any]) -> None:
    """`old_password` without `password` is ignored."""
    here, _ = clients
    ann = await a_person(here)
    reply = await update(here, ann, **form)
    assert (reply.status_code, body(reply)) == (200, {"message": DONE})
    assert await status(here, ann) == 200


@pytest.mark.parametrize(
    ("form", "code", "expected"),
    [
        ({"old_password": "wrong"}, 500, WRONG),
        ({"old_password": ""}, 500, WRONG),
        ({"old_password": "secret "}, 500, WRONG),
        ({"old_password": 7}, 400, MALFORMED),
        ({"old_password": ["secret"]}, 400, MALFORMED),
        ({"old_password": "x" * 1025}, 400, MALFORMED),
        ({"old_password": "wrong", "password": "short"}, 500, {**WRONG, "error": "密码少于6位"}),
        ({"old_password": "wrong", "email": "x"}, 500, {**WRONG, "error": "邮箱格式不正确"}),
        ({"old_password": "wrong", "email": "new@example.org"}, 500, WRONG),
    ],
)
async def test_a_wrong_old_password_changes_nothing(
    clients: Clients, form: dict[str, Any], code: int, expected: dict[str, Any]
) -> None:
    here, _ = clients
    ann = await a_person(here)
    before = (await here.get("/auth/user/info", headers=ann)).content
    reply = await update(here, ann, **{"password": "another", **form})
    assert (reply.status_code, body(reply)) == (code, expected)
    assert (await here.get("/auth/user/info", headers=ann)).content == before
    assert await log_in(here, "secret") == 200


async def test_null_is_no_old_password(clients: Clients) -> None:
    here, _ = clients
    assert (
        await update(here, await a_person(here), password="another", old_password=None)
    ).status_code == 200


async def test_wrong_old_passwords_count_as_failures_to_log_in(clients: Clients) -> None:
    here, _ = clients
    ann = await a_person(here)
    # An invalid form does not count as a failed login.
    for _ in range(5):
        assert body(await update(here, ann, password="x", old_password="wrong"))["error"] == "密码少于6位"
    for _ in range(3):
        assert body(await update(here, ann, password="another", old_password="wrong")) == WRONG
    refused = await update(here, ann, password="another", old_password="secret")
    assert (refused.status_code, body(refused)) == (429, TOO_MANY)
    assert int(refused.headers["retry-after"]) > 0
    assert await log_in(here, "secret") == 429
    assert await status(here, ann) == 200
    # A change without an old password is not limited.
    assert (await update(here, ann, password="another")).status_code == 200


async def test_a_right_old_password_clears_the_count_as_a_log_in_does(clients: Clients) -> None:
    here, _ = clients
    ann = await a_person(here)
    passwords = ["secret", "another"]
    for old, new in (passwords, passwords[::-1]):
        for _ in range(2):
            assert body(await update(here, ann, password=new, old_password="wrong")) == WRONG
        ann = {"Authorization": body(await update(here, ann, password=new, old_password=old))["token"]}


async def test_of_two_who_show_the_same_old_password_at_once_one_is_too_late(clients: Clients) -> None:
    here, there = clients
    ann = await a_person(here)
    replies = await asyncio.gather(
        *(
            update(client, ann, password=f"new {n} 1", old_password="secret")
            for n, client in enumerate(clients)
        )
    )
    done = [reply for reply in replies if reply.status_code == 200]
    assert len(done) == 1
    assert {reply.status_code for reply in replies} - {200} <= {500, 401}
    assert await status(there, {"Authorization": done[0].json()["token"]}) == 200


async def test_accents_may_be_typed_another_way(clients: Clients) -> None:
    here, _ = clients
    form = {"username": "ann", "email": "ann@example.org", "password": "sécret"}
    assert (await here.post("/register", json=form)).status_code == 200
    for password in ("sécret", "se\u0301cret"):
        assert await log_in(here, password) == 200
    token = (await here.post("/login", json=form)).json()["token"]
    reply = await update(here, {"Authorization": token}, password="e\u0301toile", old_password="se\u0301cret")
    assert reply.status_code == 200
    assert [await log_in(here, password) for password in ("étoile", "e\u0301toile", "etoile")] == [
        200,
        200,
        401,
    ]


async def test_all_spellings_of_a_wrong_password_are_one_failure(clients: Clients) -> None:
    here, _ = clients
    await a_person(here)
    assert [await log_in(here, "ée\u0301") for _ in range(4)] == [401, 401, 401, 429]


async def test_copies_get_one_token(clients: Clients) -> None:
    here, there = clients
    ann = await a_person(here)
    what: Send = ("PUT", "/auth/user/update", {"json": {"password": "another", "old_password": "secret"}})
    replies = await asyncio.gather(*(send(client, what, "k", ann) for client in (here, here, there)))
    good = [reply for reply in replies if reply.status_code == 200]
    assert len(fresh(good)) == 1
    assert len({reply.json()["token"] for reply in good}) == 1
    # A copy that arrives after the change has a revoked token.
    assert {reply.status_code for reply in replies} - {200} <= {401}
    again = await send(here, what, "k", {"Authorization": good[0].json()["token"]})
    assert again.json() == good[0].json()


async def test_a_second_run_is_not_asked_for_the_password_that_the_first_has_changed(
    clients: Clients, database_url: str
) -> None:
    here, there = clients
    ann = await a_person(here)
    what: Send = ("PUT", "/auth/user/update", {"json": {"password": "another", "old_password": "secret"}})
    assert (await send(here, what, "k", ann)).status_code == 200
    die_before_the_reply(database_url)
    reply = await there.post("/login", json={"username": "ann", "password": "another"})
    second = await send(there, what, "k", {"Authorization": reply.json()["token"]})
    assert (second.status_code, body(second)["message"]) == (200, DONE)
    assert await status(here, {"Authorization": second.json()["token"]}) == 200
    assert facts(database_url, "account.password_changed") == 1
