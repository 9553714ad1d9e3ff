"""A request whose process died before its response was stored runs again and finds its earlier result."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest

from huajuan.http.app import create_app
from huajuan.idempotency.service import IdempotencyLimits
from huajuan.jobs.queue import DispatchLimits
from tests.http.conftest import ORDER, body
from tests.http.keys import (
    GENERATE,
    SCORE,
    Headers,
    Send,
    a_person,
    die_before_the_reply,
    facts,
    fresh,
    keyed,
    rows,
    send,
    shut,
)
from tests.http.test_admin import make_admin
from tests.jobs.fake_server import FakeInferenceServer, png
from tests.services import client_of, until

UNLIMITED: dict[str, Any] = {"check_in_limit": "none"}
IMPATIENT = IdempotencyLimits(wait_seconds=0.3)
SWIFT = DispatchLimits(wait_poll_seconds=0.02)


@pytest.fixture
async def client(database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(database_url, **UNLIMITED, dispatch=SWIFT) as client:
        yield client


async def twice(client: httpx.AsyncClient, dsn: str, what: Send, who: Headers) -> list[dict[str, Any]]:
    """The response bodies of a run whose stored reply was lost, and of the next run."""
    first = await send(client, what, "k", who)
    die_before_the_reply(dsn)
    second = await send(client, what, "k", who)
    assert (first.status_code, second.status_code) == (200, 200), second.text
    assert fresh([second]) == [second]
    assert (await send(client, what, "k", who)).content == second.content
    return [body(first), body(second)]


async def test_points_and_pictures(client: httpx.AsyncClient, database_url: str) -> None:
    ann = await a_person(client)
    await make_admin(database_url, "ann")
    first, second = await twice(client, database_url, SCORE, ann)
    assert first == second
    first, second = await twice(client, database_url, GENERATE, ann)
    assert first == second
    for change in (7, -3):
        gift = {"change": change, "reason": "luck"}
        admin: Send = ("POST", "/admin/users/ann/points", {"json": gift})
        rows(database_url, "DELETE FROM operations.idempotency")
        first, second = await twice(client, database_url, admin, ann)
        assert first == second
    assert (await client.get("/auth/points", headers=ann)).json()["score"] == 100 - 20 + 7 - 3
    assert facts(database_url, "image.requested") == facts(database_url, "image.drawn") == 1


async def test_whatever_else_writes(client: httpx.AsyncClient, database_url: str) -> None:
    ann = await a_person(client, checked_in=True)
    await make_admin(database_url, "ann")
    form = {"username": "ben", "email": "ben@example.org", "password": "secret"}
    image = (await client.post("/auth/generate", json=ORDER, headers=ann)).json()
    url, name = {"url": image["image_url"]}, {"urls": [image["image_url"]]}
    why = {"json": {"reason": "x"}}
    requests: list[Send] = [
        ("POST", "/register", {"json": form}),
        ("POST", "/auth/like", {"json": url}),
        ("DELETE", "/auth/like", {"params": url}),
        ("POST", "/auth/addFavoritedImage", {"json": {"id": image["id"]}}),
        ("DELETE", "/auth/deleteFavoritedImage", {"params": url}),
        ("POST", "/auth/user/deleteImages", {"json": {"ids": [image["id"]]}}),
        ("POST", "/auth/user/restoreImages", {"json": name}),
        (
            "PUT",
            "/auth/user/update",
            {"json": {"email": "new@example.org", "avatar_url": "https://a.example"}},
        ),
        ("POST", "/auth/setavatar", {"json": {"url": "https://b.example"}}),
        ("POST", "/auth/uploadavatar", {"files": {"file": png(9, 9)}}),
        ("POST", "/admin/users/ben/ban", why),
        ("POST", "/admin/users/ben/unban", why),
        ("DELETE", "/auth/root/deleteOneUser", {"params": {"username": "ben"}}),
    ]
    for request in requests:
        rows(database_url, "DELETE FROM operations.idempotency")
        before = rows(database_url, "SELECT max(notification_id) FROM log.huajuan_events")[0][0]
        first, second = await twice(client, database_url, request, ann)
        assert first == second, request
        marked = rows(
            database_url,
            "SELECT convert_from(state, 'UTF8')::json->>'command_id' FROM log.huajuan_events "
            "WHERE notification_id > %s AND convert_from(state, 'UTF8') LIKE '%%command_id%%'",
            before,
        )
        assert len(set(marked)) == 1, request
    uploaded = rows(database_url, "SELECT count(*) FROM operations.uploaded_avatars")
    assert uploaded == [(1,)]


async def test_what_a_second_run_finds_is_its_own(client: httpx.AsyncClient, database_url: str) -> None:
    """A second run does not take the same effect of another request for its own."""
    ann = await a_person(client, checked_in=True)
    url = (await client.post("/auth/generate", json=ORDER, headers=ann)).json()["image_url"]
    like: Send = ("POST", "/auth/like", {"json": {"url": url}})
    assert (await send(client, like, "one", ann)).status_code == 200
    assert (await send(client, like, "other", ann)).status_code == 409
    die_before_the_reply(database_url)
    assert [(await send(client, like, key, ann)).status_code for key in ("other", "one")] == [409, 200]


async def test_a_process_that_lost_its_claim_does_not_do_it_twice(database_url: str) -> None:
    """The lease expired while its holder still runs, so two processes run the request at once."""
    host = FakeInferenceServer()
    swift = client_of(database_url, host, dispatch=SWIFT)
    async with client_of(database_url, host) as here, swift as there, shut(host):
        ann = await a_person(here, checked_in=True)
        first = asyncio.create_task(send(here, GENERATE, "k", ann))
        await until(lambda: bool(host.drawn))
        die_before_the_reply(database_url)
        second = asyncio.create_task(send(there, GENERATE, "k", ann))
        await until(
            lambda: (
                len(rows(database_url, "SELECT 1 FROM operations.idempotency WHERE expires_at > now()")) == 1
            )
        )
        host.gate.set()
        replies = [await first, await second]
    assert [reply.status_code for reply in replies] == [200, 200]
    assert replies[0].json() == replies[1].json()
    assert (len(host.drawn), facts(database_url, "account.points_held")) == (1, 1)


async def test_a_claim_is_kept_alive_while_it_runs_and_copies_do_not_wait_for_ever(database_url: str) -> None:
    host = FakeInferenceServer()
    brief = msgspec.structs.replace(IMPATIENT, lease_seconds=0.4, heartbeat_seconds=0.05)
    async with (
        client_of(database_url, host, idempotency=brief) as here,
        client_of(database_url, host, idempotency=brief) as there,
        shut(host),
    ):
        ann = await a_person(here, checked_in=True)
        first = asyncio.create_task(send(here, GENERATE, "k", ann))
        await until(lambda: bool(host.drawn))
        for _ in range(3):
            for client in (here, there):
                copy = await send(client, GENERATE, "k", ann)
                assert (copy.status_code, body(copy)) == (409, {"message": "请求正在处理中"})
                assert int(copy.headers["retry-after"]) >= 1
        host.gate.set()
        done = await first
        copies = [await send(client, GENERATE, "k", ann) for client in (here, there)]
    assert [copy.content for copy in copies] == [done.content] * 2
    assert facts(database_url, "account.points_held") == 1


async def test_only_so_many_copies_wait(database_url: str) -> None:
    host = FakeInferenceServer()
    few = IdempotencyLimits(waiting_max=2)
    async with client_of(database_url, host, idempotency=few) as client, shut(host):
        ann = await a_person(client, checked_in=True)
        first = asyncio.create_task(send(client, GENERATE, "k", ann))
        await until(lambda: bool(host.drawn))
        copies = [asyncio.create_task(send(client, GENERATE, "k", ann)) for _ in range(5)]
        await until(lambda: sum(copy.done() for copy in copies) == 3)
        host.gate.set()
        statuses = sorted([(await copy).status_code for copy in copies])
        assert (statuses, (await first).status_code) == ([200, 200, 409, 409, 409], 200)


async def test_a_client_that_hangs_up_finds_its_reply(database_url: str) -> None:
    host = FakeInferenceServer()
    async with client_of(database_url, host) as client, shut(host):
        ann = await a_person(client, checked_in=True)
        with pytest.raises(httpx.ReadTimeout):
            await client.post("/auth/generate", json=ORDER, headers=keyed("k", ann), timeout=0.2)
        host.gate.set()
        stored = "SELECT 1 FROM operations.idempotency WHERE reply IS NOT NULL"
        await until(lambda: len(rows(database_url, stored)) == 1)
        copy = await send(client, GENERATE, "k", ann)
    assert (copy.status_code, len(host.drawn), fresh([copy])) == (200, 1, [])


async def test_what_a_stopping_server_leaves_is_for_the_next_copy(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, running = FakeInferenceServer(), list[Any]()

    def spied(*parts: Any) -> Any:
        app = create_app(*parts)

        async def enter(scope: Any, receive: Any, send: Any) -> None:
            running.append(asyncio.current_task())
            await app(scope, receive, send)

        return enter

    monkeypatch.setattr("tests.services.create_app", spied)
    async with client_of(database_url, host, dispatch=SWIFT) as client, shut(host):
        ann = await a_person(client, checked_in=True)
        first = asyncio.create_task(send(client, GENERATE, "k", ann))
        await until(lambda: bool(host.drawn))
        running[-1].cancel()
        assert (await first).status_code == 503
        host.gate.set()
        copy = await send(client, GENERATE, "k", ann)
    assert (copy.status_code, copy.json()["score"], fresh([copy])) == (200, 80, [copy])
    assert (len(host.drawn), facts(database_url, "account.points_held")) == (1, 1)
