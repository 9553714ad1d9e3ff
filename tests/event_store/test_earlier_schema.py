"""A database that the program of schema number 1 made and used is served, verified and rebuilt."""

import asyncio
from typing import Any

import httpx
import psycopg
import pytest

from tests.cli.conftest import Huajuan, huajuan
from tests.http.conftest import ORDER
from tests.services import client_of

__all__ = ["huajuan"]

# The dump's rows are older than they may get.
_RENEW = "UPDATE operations.idempotency SET claimed_at = now(), lapses_at = now() - interval '1 second'"
_LOSE_REPLIES = "UPDATE operations.idempotency SET reply = NULL"


@pytest.fixture(autouse=True)
def renewed_requests(old_database: str) -> None:
    with psycopg.connect(old_database, autocommit=True) as connection:
        connection.execute(_RENEW)


async def logged_in(client: httpx.AsyncClient, name: str) -> dict[str, str]:
    reply = await client.post("/login", json={"username": name, "password": f"secret-{name}"})
    assert reply.status_code == 200
    return {"Authorization": reply.json()["token"]}


async def points(client: httpx.AsyncClient, name: str) -> int:
    reply = await client.get("/auth/points", headers=await logged_in(client, name))
    score: int = reply.json()["score"]
    return score


async def test_people_find_what_they_had_and_go_on(old_database: str) -> None:
    async with client_of(old_database) as client:
        assert [await points(client, name) for name in ("小明", "ann", "bob")] == [40, 100, 155]
        images = (await client.get("/image/all")).json()["images"]
        assert [image["id"] for image in images] == [18, 23, 28]
        assert images[0]["likecount"] == 1
        for name in ("eve", "cai"):
            form = {"username": name, "password": f"secret-{name}"}
            assert (await client.post("/login", json=form)).status_code in (401, 403)
        drawn = await client.post("/auth/generate", json=ORDER, headers=await logged_in(client, "bob"))
        assert (drawn.status_code, drawn.json()["score"]) == (200, 135)


@pytest.mark.parametrize("reply_is_kept", [True, False])
async def test_a_request_that_was_sent_before_changes_nothing_when_it_is_sent_again(
    old_database: str, reply_is_kept: bool
) -> None:
    if not reply_is_kept:
        with psycopg.connect(old_database, autocommit=True) as connection:
            connection.execute(_LOSE_REPLIES)
    async with client_of(old_database) as client:
        ming = await logged_in(client, "小明")

        async def send(path: str, key: str, **body: Any) -> httpx.Response:
            return await client.post(path, headers={**ming, "Idempotency-Key": key}, **body)

        again = await send("/auth/score", "check-in")
        # A request whose reply was lost runs again, finds what it did, and reports the balance of now.
        assert (again.status_code, again.json()["score"]) == (200, 100 if reply_is_kept else 40)
        again = await send("/auth/generate", "draw-2", json={**ORDER, "seed": "2"})
        assert (again.status_code, again.json()["id"]) == (200, 23)
        assert await points(client, "小明") == 40


def test_the_log_is_whole_and_the_tables_agree_with_it(old_database: str, huajuan: Huajuan) -> None:
    async def serve_once() -> None:
        async with client_of(old_database) as client:
            assert (await client.get("/readyz")).status_code == 200

    asyncio.run(serve_once())
    for words in (("verify",), ("replay", "--all"), ("rebuild",), ("verify",), ("replay", "--all")):
        ran = huajuan(old_database, *words)
        assert ran.status == 0, (words, ran)
