"""`Idempotency-Key` over HTTP: a repeated request changes nothing and gets the first response."""

import asyncio
from typing import Any

import httpx
import pytest

from tests.http.conftest import ORDER, Person, body
from tests.http.keys import GENERATE, REPLAYED, SCORE, Send, a_person, facts, fresh, keyed, rows, send
from tests.http.test_admin import make_admin
from tests.jobs.fake_server import png
from tests.services import client_of

pytestmark = pytest.mark.asyncio(loop_scope="module")
COPIES = 100


async def test_a_copy_gets_the_first_reply(client: httpx.AsyncClient, person: Person) -> None:
    ann = await person()
    first, copy = [await send(client, SCORE, "a", ann) for _ in range(2)]
    assert (first.status_code, first.json()["score"]) == (200, 100)
    assert (copy.status_code, copy.content) == (200, first.content)
    assert (first.headers.get(REPLAYED), copy.headers[REPLAYED]) == (None, "true")
    assert copy.headers["cache-control"] == first.headers["cache-control"] == "no-store"
    assert copy.headers["content-type"] == "application/json"
    assert first.headers["x-request-id"] != copy.headers["x-request-id"]
    again = await client.post("/auth/score", headers=ann)
    assert (again.status_code, again.json()["message"]) == (400, "您今天已经签到过了")


async def test_a_refusal_is_kept_as_well(client: httpx.AsyncClient, person: Person) -> None:
    ann = await person()
    first = await send(client, GENERATE, "a", ann)
    assert (first.status_code, first.json()["message"]) == (401, "用户积分不足")
    await client.get("/auth/score", headers=ann)
    copy = await send(client, GENERATE, "a", ann)
    assert (copy.status_code, copy.content, copy.headers[REPLAYED]) == (401, first.content, "true")
    assert (await send(client, GENERATE, "b", ann)).status_code == 200


async def test_another_body_is_refused(client: httpx.AsyncClient, person: Person) -> None:
    ann = await person(checked_in=True)
    first = await send(client, GENERATE, "a", ann)
    other = await client.post("/auth/generate", json={**ORDER, "seed": "8"}, headers=keyed("a", ann))
    assert (other.status_code, body(other)) == (422, {"message": "幂等键已用于其他请求"})
    assert (await send(client, GENERATE, "a", ann)).content == first.content


async def test_of_two_bodies_at_once_one_is_refused(client: httpx.AsyncClient, person: Person) -> None:
    ann = await person(checked_in=True)
    orders = [{**ORDER, "seed": seed} for seed in ("1", "2") * 10]
    replies = await asyncio.gather(
        *(client.post("/auth/generate", json=order, headers=keyed("a", ann)) for order in orders)
    )
    assert sorted(reply.status_code for reply in replies) == [200] * 10 + [422] * 10
    assert (await client.get("/auth/points", headers=ann)).json()["score"] == 80


async def test_another_account_route_method_or_query_is_another_request(
    client: httpx.AsyncClient, person: Person
) -> None:
    ann, ben = await person(checked_in=True), await person()
    urls = [(await send(client, GENERATE, key, ann)).json()["image_url"] for key in ("a", "b")]
    requests: list[Send] = [
        ("POST", "/auth/like", {"json": {"url": urls[0]}}),
        ("DELETE", "/auth/like", {"params": {"url": urls[0]}}),
        ("DELETE", "/auth/like", {"params": {"url": urls[1]}}),
    ]
    sent = [await send(client, request, "k", who) for who in (ann, ben) for request in requests]
    assert [reply.status_code for reply in sent] == [200, 200, 409] * 2
    assert fresh(sent) == sent


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "é", "键"])
async def test_a_key_that_is_none_is_refused(client: httpx.AsyncClient, person: Person, key: str) -> None:
    ann = await person()
    headers = [*ann.items(), ("Idempotency-Key", key.encode())]
    reply = await client.post("/auth/score", headers=headers)  # type: ignore[arg-type]
    assert (reply.status_code, body(reply)) == (400, {"message": "请求数据格式错误"})
    assert (await client.get("/auth/points", headers=ann)).json()["score"] == 0


async def test_two_keys_are_none(client: httpx.AsyncClient, person: Person) -> None:
    headers = [*(await person()).items(), ("Idempotency-Key", "a"), ("Idempotency-Key", "a")]
    assert (await client.post("/auth/score", headers=headers)).status_code == 400


async def test_the_longest_key_is_one(client: httpx.AsyncClient, person: Person) -> None:
    ann = await person()
    assert [(await send(client, SCORE, "~" * 255, ann)).status_code for _ in range(2)] == [200, 200]


async def test_reading_takes_no_notice_of_a_key(client: httpx.AsyncClient, person: Person) -> None:
    ann = await person()
    replies = [await client.get("/auth/points", headers=keyed("bad key", ann)) for _ in range(2)]
    assert [reply.status_code for reply in replies] == [200, 200]
    assert fresh(replies) == replies


async def test_nothing_is_noted_without_a_key_or_with_a_bad_token(
    client: httpx.AsyncClient, person: Person, module_database_url: str
) -> None:
    before = len(rows(module_database_url))
    await person(checked_in=True)
    for token in ({}, {"Authorization": "garbage"}):
        assert (await send(client, SCORE, "a", token)).status_code == 401
    assert (await send(client, ("POST", "/admin/users/ann/ban", {}), "a", await person())).status_code == 403
    assert len(rows(module_database_url)) == before


async def test_a_file_is_known_again_whatever_border_the_form_has(
    client: httpx.AsyncClient, person: Person
) -> None:
    ann = await person()

    async def upload(portrait: bytes) -> httpx.Response:
        return await client.post("/auth/uploadavatar", files={"file": portrait}, headers=keyed("a", ann))

    first, copy, other = [await upload(png(*size)) for size in ((9, 9), (9, 9), (8, 8))]
    assert (first.status_code, copy.content, copy.headers[REPLAYED]) == (200, first.content, "true")
    assert other.status_code == 422


async def test_registering_and_logging_in_are_kept_by_address(client: httpx.AsyncClient) -> None:
    form = {"username": "zoe", "email": "zoe@example.org", "password": "secret"}
    for path in ("/register", "/login"):
        first, copy = [await client.post(path, json=form, headers=keyed("zoe")) for _ in range(2)]
        assert (first.status_code, copy.status_code, copy.content) == (200, 200, first.content)
    other = await client.post("/register", json={**form, "password": "secret2"}, headers=keyed("zoe"))
    assert other.status_code == 422


async def test_a_browser_may_send_the_key_and_read_the_answer(client: httpx.AsyncClient) -> None:
    headers = {"Origin": "http://localhost:8081", "Access-Control-Request-Method": "POST"}
    preflight = await client.options("/auth/score", headers=headers)
    assert "Idempotency-Key" in preflight.headers["access-control-allow-headers"]
    reply = await client.post("/login", json={}, headers={"Origin": "http://localhost:8081"})
    assert "Idempotency-Replayed" in reply.headers["access-control-expose-headers"]


async def copies_of(clients: list[httpx.AsyncClient], what: Any, who: dict[str, str]) -> list[httpx.Response]:
    """Sends concurrent requests with one key through all clients; all get the same reply."""
    replies = await asyncio.gather(
        *(send(clients[n % len(clients)], what, "one-key", who) for n in range(COPIES))
    )
    assert {(reply.status_code, reply.content) for reply in replies} == {(200, replies[0].content)}
    assert len(fresh(replies)) == 1
    return replies


@pytest.mark.parametrize("apps", [1, 2])
async def test_a_hundred_copies_have_one_effect_and_one_reply(database_url: str, apps: int) -> None:
    async with client_of(database_url) as here, client_of(database_url) as there:
        clients = [here, there][:apps]
        ann = await a_person(here)
        await make_admin(database_url, "ann")
        form = {"username": "ben", "email": "ben@example.org", "password": "secret"}
        await copies_of(clients, ("POST", "/register", {"json": form}), {})
        await copies_of(clients, SCORE, ann)
        image = (await copies_of(clients, GENERATE, ann))[0].json()
        url = {"url": image["image_url"]}
        await copies_of(clients, ("POST", "/auth/like", {"json": url}), ann)
        await copies_of(clients, ("POST", "/auth/addFavoritedImage", {"json": url}), ann)
        gift = {"change": 7, "reason": "luck"}
        told = await copies_of(clients, ("POST", "/admin/users/ann/points", {"json": gift}), ann)
        assert (image["score"], told[0].json()["score"]) == (80, 87)
        await copies_of(clients, ("DELETE", "/auth/like", {"params": url}), ann)
    once = ["account.checked_in", "image.requested", "image.drawn", "like.given", "like.taken_back"]
    assert [facts(database_url, topic) for topic in [*once, "favorite.added"]] == [1] * 6
    assert facts(database_url, "account.registered") == 2
