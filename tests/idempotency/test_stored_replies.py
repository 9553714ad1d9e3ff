"""Stored replies of requests with a key: which are stored, their encryption, and their deletion."""

from datetime import timedelta

import pytest

from huajuan.event_store.errors import DatabaseUnavailable
from huajuan.event_store.store import EventStore
from huajuan.idempotency.service import IdempotencyLimits
from huajuan.jobs.queue import JobQueue, QueueFull
from tests.http.conftest import body
from tests.http.keys import GENERATE, SCORE, Send, a_person, facts, fresh, keyed, rows, send
from tests.services import client_of, until

STORED = "SELECT 1 FROM operations.idempotency WHERE reply IS NOT NULL"


async def test_a_refusal_by_a_full_queue_is_not_stored(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object) -> None:
        raise QueueFull(1)

    async with client_of(database_url) as client:
        ann = await a_person(client, checked_in=True)
        with monkeypatch.context() as full:
            full.setattr(JobQueue, "open", refuse)
            assert (await send(client, GENERATE, "k", ann)).status_code == 429
        drawn = await send(client, GENERATE, "k", ann)
        assert (drawn.status_code, fresh([drawn])) == (200, [drawn])


async def test_an_unknown_outcome_is_not_stored_and_is_looked_up(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command took effect, and the client got an error."""
    change = EventStore.change

    async def lost(*arguments: object) -> None:
        await change(*arguments)  # type: ignore[arg-type]
        raise DatabaseUnavailable

    async with client_of(database_url, check_in_limit="none") as client:
        ann = await a_person(client)
        for error in (lost, _broken):
            with monkeypatch.context() as outage:
                outage.setattr(EventStore, "change", error)
                reply = await send(client, SCORE, "k", ann)
                assert reply.json()["message"] in {"积分记录创建失败", "服务器内部错误"}
        reply = await send(client, SCORE, "k", ann)
        assert (reply.status_code, reply.json()["score"]) == (200, 100)
    assert facts(database_url, "account.checked_in") == 1


async def _broken(*_: object) -> None:
    raise ZeroDivisionError


async def test_a_long_reply_is_sent_and_not_stored(database_url: str) -> None:
    async with client_of(database_url, idempotency=IdempotencyLimits(reply_bytes_max=10)) as client:
        ann = await a_person(client)
        assert [(await send(client, SCORE, "k", ann)).status_code for _ in range(2)] == [200, 200]
    assert (rows(database_url, STORED), facts(database_url, "account.checked_in")) == ([], 1)


async def test_the_database_contains_no_readable_key_body_or_reply(database_url: str) -> None:
    form = {"username": "ann", "email": "ann@example.org", "password": "very secret"}
    async with client_of(database_url) as client:
        for path in ("/register", "/login"):
            reply = await client.post(path, json=form, headers=keyed("guess-me"))
        token = reply.json()["token"]
    dump = b"".join(
        value if isinstance(value, bytes) else str(value).encode()
        for row in rows(database_url)
        for value in row
    )
    assert len(rows(database_url, STORED)) == 2
    for secret in (token, token.split(".")[1], "very secret", "guess-me", "注册成功", "127.0.0.1", "/login"):
        assert secret.encode() not in dump


async def test_with_another_secret_no_key_is_recognized(database_url: str) -> None:
    form = {"username": "ann", "email": "ann@example.org", "password": "secret"}
    async with client_of(database_url) as client:
        await client.post("/register", json=form, headers=keyed("k"))
    async with client_of(database_url, jwt_secret="another secret of thirty-two bytes") as client:
        reply = await client.post("/register", json=form, headers=keyed("k"))
        assert reply.json()["error"] == "用户名已存在"


async def test_a_key_expires_after_a_day_and_its_row_is_deleted(database_url: str) -> None:
    age = "UPDATE operations.idempotency SET claimed_at = claimed_at - %s"
    async with client_of(database_url, check_in_limit="none") as client:
        ann = await a_person(client)
        for hours, score in ((0, 100), (23.9, 100), (0.2, 200)):
            rows(database_url, age, timedelta(hours=hours))
            assert (await send(client, SCORE, "k", ann)).json()["score"] == score
        rows(database_url, age, timedelta(hours=25))
        other = ("POST", "/auth/score", {"json": {"another": "body"}})
        assert (await send(client, other, "k", ann)).json()["score"] == 300
    rows(database_url, age, timedelta(hours=25))
    many = IdempotencyLimits(sweep_batch_max=1)
    async with client_of(database_url, idempotency=many, cleanup_every_seconds=0.01) as client:
        await until(lambda: rows(database_url) == [])


async def test_an_erasure_deletes_the_stored_replies(database_url: str) -> None:
    form = {"username": "ann", "email": "ann@example.org", "password": "secret"}
    async with client_of(database_url) as client:
        for path in ("/register", "/login"):
            reply = await client.post(path, json=form, headers=keyed("k"))
        ann, ben = {"Authorization": reply.json()["token"]}, await a_person(client, "ben")
        for who in (ann, ben):
            await send(client, SCORE, "k", who)
        assert len(rows(database_url, STORED)) == 4
        erase: Send = ("DELETE", "/auth/root/deleteOneUser", {"params": {"isOwn": "true"}})
        assert (await send(client, erase, "bye", ann)).status_code == 200
        await until(lambda: len(rows(database_url)) == 1)
        refused = await send(client, erase, "bye", ann)
        assert (refused.status_code, body(refused)) == (401, {"message": "无效的Token"})
        assert fresh([await send(client, SCORE, "k", ben)]) == []
