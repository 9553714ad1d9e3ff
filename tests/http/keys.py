"""Requests with an `Idempotency-Key`, and queries on their effects."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import psycopg

from tests.http.conftest import ORDER
from tests.jobs.fake_server import FakeInferenceServer

Headers = dict[str, str]
Send = tuple[str, str, dict[str, Any]]
REPLAYED = "idempotency-replayed"
SCORE: Send = ("POST", "/auth/score", {})
GENERATE: Send = ("POST", "/auth/generate", {"json": ORDER})


def keyed(key: str, headers: Headers | None = None) -> Headers:
    return {**(headers or {}), "Idempotency-Key": key}


async def send(client: httpx.AsyncClient, what: Send, key: str, headers: Headers) -> httpx.Response:
    method, path, more = what
    return await client.request(method, path, headers=keyed(key, headers), **more)


def fresh(replies: Iterable[httpx.Response]) -> list[httpx.Response]:
    """Replies without the header of a replay."""
    return [reply for reply in replies if REPLAYED not in reply.headers]


def rows(dsn: str, statement: str = "SELECT * FROM operations.idempotency", *values: Any) -> list[Any]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        cursor = connection.execute(statement.encode(), values)
        return cursor.fetchall() if cursor.description else []


def facts(dsn: str, topic: str) -> int:
    found = rows(dsn, "SELECT count(*) FROM log.huajuan_events WHERE topic = %s", topic)
    return int(found[0][0])


def die_before_the_reply(dsn: str) -> None:
    """As if each process had died after its commit: no reply is stored, and the lease has expired."""
    rows(dsn, "UPDATE operations.idempotency SET reply = NULL, expires_at = now()")


@asynccontextmanager
async def shut(host: FakeInferenceServer) -> AsyncIterator[None]:
    """Holds back all drawings in the block. The gate opens at its end, so that the server can stop."""
    host.gate.clear()
    try:
        yield
    finally:
        host.gate.set()


async def a_person(client: httpx.AsyncClient, name: str = "ann", *, checked_in: bool = False) -> Headers:
    form = {"username": name, "email": f"{name}@example.org", "password": "secret"}
    assert (await client.post("/register", json=form)).status_code == 200
    headers = {"Authorization": (await client.post("/login", json=form)).json()["token"]}
    if checked_in:
        assert (await client.get("/auth/score", headers=headers)).status_code == 200
    return headers
