"""`/readyz` is not ready as soon as the read tables are not followed, whatever has failed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext

import httpx
import psycopg
import pytest

from huajuan.http.app import create_app
from huajuan.projections.daily_statistics import DAILY_STATISTICS
from huajuan.projections.likes import LIKES
from huajuan.runtime.health import Problem
from huajuan.runtime.periodic import cancel_tasks
from tests.loopback import NO_TLS
from tests.services import client_of, services_on, serving, until

FORM = {"username": "ann", "email": "ann@example.org", "password": "secret"}


async def ready(client: httpx.AsyncClient) -> bool:
    reply = await client.get("/readyz")
    assert reply.json()["database"] is True
    assert ("Retry-After" in reply.headers) == (reply.status_code == 503)
    return reply.status_code == 200


@pytest.mark.parametrize("name", ["ProjectionRunner", "PositionPublisher", "NotificationListener"])
async def test_not_when_a_task_that_follows_the_log_is_dead(database_url: str, name: str) -> None:
    async with client_of(database_url) as client:
        assert await ready(client)
        (task,) = [task for task in asyncio.all_tasks() if task.get_name() == name]
        await cancel_tasks([task])
        assert not await ready(client)
        assert (await client.get("/healthz")).status_code == 200


@asynccontextmanager
async def holding(dsn: str, projection: str) -> AsyncIterator[None]:
    """Another session holds the lock of this projection and folds nothing."""
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        query = "SELECT 1 FROM operations.checkpoints WHERE projection = %s FOR UPDATE"
        await connection.execute(query, (projection,))
        yield


async def test_not_while_another_process_should_lead_and_does_not(database_url: str) -> None:
    async with client_of(database_url, lag_seconds_max=0.3, read_own_writes_seconds_max=0.01) as client:
        async with holding(database_url, LIKES.schema):
            assert await ready(client), "nothing is waiting yet"
            assert (await client.post("/register", json=FORM)).status_code == 200

            async def is_late() -> bool:
                return not await ready(client)

            await until(is_late)
            late = (await client.get("/readyz")).json()["projections"][LIKES.schema]
            assert (late["lag_events"] > 0, late["lag_seconds"] > 0.3) == (True, True)
        await until(lambda: ready(client))


async def test_an_event_after_a_long_silence_does_not_look_like_a_long_lag(database_url: str) -> None:
    async with client_of(database_url, read_own_writes_seconds_max=0.01) as client:
        async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
            await connection.execute("UPDATE operations.checkpoints SET moved_at = now() - interval '1 hour'")
        async with holding(database_url, LIKES.schema):
            assert (await client.post("/register", json=FORM)).status_code == 200
            assert await ready(client)


async def test_a_blocking_problem_makes_it_unready_and_any_other_degraded(database_url: str) -> None:
    found: list[Problem] = []
    async with services_on(database_url) as services:
        services.health.append(lambda: found)
        app = create_app(services.settings, lambda: nullcontext(services))
        async with serving(app) as address, httpx.AsyncClient(base_url=address, verify=NO_TLS) as client:
            for problems, status, state in (
                ([], 200, "ready"),
                ([Problem("spare", "One of two is away.", blocking=False)], 200, "degraded"),
                ([Problem("disk", "Writes fail.", blocking=True)], 503, "unready"),
            ):
                found[:] = problems
                reply = await client.get("/readyz")
                said = reply.json()
                assert (reply.status_code, said["status"]) == (status, state)
                assert [one["name"] for one in said["problems"]] == [one.name for one in problems]


async def _stopped(dsn: str, table: str, position: int | None) -> None:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute(
            "UPDATE operations.checkpoints SET stopped_at = %s, stopped_by = 'KeyError' "
            "WHERE projection = %s",
            (position, table),
        )


@pytest.mark.parametrize(
    ("optional", "table", "status"),
    [
        (("daily_statistics",), DAILY_STATISTICS.schema, "degraded"),
        (("daily_statistics",), LIKES.schema, "unready"),
        (("likes",), LIKES.schema, "degraded"),
        ((), DAILY_STATISTICS.schema, "unready"),
    ],
)
async def test_a_stopped_table_that_replies_can_do_without_only_degrades(
    database_url: str, optional: tuple[str, ...], table: str, status: str
) -> None:
    async with client_of(database_url, readyz_optional_tables=optional) as client:
        assert (await client.get("/readyz")).json()["status"] == "ready"
        await _stopped(database_url, table, 7)
        reply = await client.get("/readyz")
        assert (reply.status_code, reply.json()["status"]) == (503 if status == "unready" else 200, status)
        (problem,) = reply.json()["problems"]
        assert (problem["name"], problem["blocking"]) == ("read_table_stopped", status == "unready")
        assert problem["detail"] == f"{table} stopped at position 7: KeyError."
        await _stopped(database_url, table, None)
        assert (await client.get("/readyz")).json()["status"] == "ready"
