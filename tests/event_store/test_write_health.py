"""A database that rejects writes is detected, with and without traffic."""

import asyncio

import psycopg
import pytest
from psycopg import sql

from huajuan.event_store import writer
from huajuan.event_store.writer import PROBE_AFTER_SECONDS, PROBE_AGAIN_SECONDS, WriteHealth
from huajuan.runtime.periodic import running
from tests.services import client_of, services_on, until

READ_ONLY = psycopg.errors.ReadOnlySqlTransaction("no")
FORM = {"username": "ann", "email": "ann@example.org", "password": "secret"}


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def names(health: WriteHealth) -> list[str]:
    return [problem.name for problem in health.problems()]


def test_three_failures_in_a_row_are_a_problem_until_a_write_succeeds() -> None:
    health = WriteHealth(Clock())
    for _ in range(2):
        health.failed(READ_ONLY)
        health.failed(READ_ONLY)
        assert names(health) == []
        health.succeeded()
    for _ in range(3):
        health.failed(READ_ONLY)
    (problem,) = health.problems()
    assert (problem.name, problem.blocking) == ("database_refuses_writes", True)
    assert "ReadOnlySqlTransaction" in problem.detail
    health.succeeded()
    assert names(health) == []


@pytest.mark.parametrize("error", [psycopg.DataError("x"), psycopg.errors.UniqueViolation("x")])
def test_an_error_of_the_content_is_not_counted(error: Exception) -> None:
    health = WriteHealth(Clock())
    for _ in range(3):
        health.failed(error)
    assert names(health) == []


def test_a_probe_is_due_when_nothing_was_written_and_soon_after_a_failure() -> None:
    health = WriteHealth(clock := Clock())
    assert health.probe_due_in_seconds == PROBE_AFTER_SECONDS
    clock.now = 4
    assert health.probe_due_in_seconds == PROBE_AFTER_SECONDS - 4
    health.succeeded()
    assert health.probe_due_in_seconds == PROBE_AFTER_SECONDS
    health.failed(READ_ONLY)
    assert health.probe_due_in_seconds == PROBE_AGAIN_SECONDS


def set_read_only(dsn: str, value: str) -> None:
    """Like a provider with a full disk. Closes the present connections."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        name = sql.Identifier(connection.info.dbname)
        connection.execute("SET default_transaction_read_only = off")
        connection.execute(
            sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = {}").format(name, sql.SQL(value))
        )
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


async def test_without_traffic_the_probe_finds_a_read_only_database(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "PROBE_AFTER_SECONDS", 0.05)
    monkeypatch.setattr(writer, "PROBE_AGAIN_SECONDS", 0.05)
    async with client_of(database_url) as client:

        async def status(wanted: int) -> bool:
            reply = await client.get("/readyz")
            problems = [one["name"] for one in reply.json()["problems"]]
            assert ("database_refuses_writes" in problems) <= (reply.status_code == 503)
            return reply.status_code == wanted and ("database_refuses_writes" in problems) == (wanted == 503)

        await until(lambda: status(200))
        await asyncio.to_thread(set_read_only, database_url, "on")
        await until(lambda: status(503))
        assert (await client.get("/user/all")).status_code == 200, "reads go on"
        await asyncio.to_thread(set_read_only, database_url, "off")
        await until(lambda: status(200))


async def test_with_traffic_failing_appends_are_counted(database_url: str) -> None:
    """No probe is due for 10 s, so only the appends are counted."""
    async with client_of(database_url) as client:
        await asyncio.to_thread(set_read_only, database_url, "on")
        async with running(_register(client)):

            async def is_unready() -> bool:
                reply = await client.get("/readyz")
                blocking = [one["name"] for one in reply.json()["problems"] if one["blocking"]]
                return reply.status_code == 503 and blocking == ["database_refuses_writes"]

            await until(is_unready)
            await asyncio.to_thread(set_read_only, database_url, "off")


async def _register(client: object) -> None:
    await client.post("/register", json=FORM)  # type: ignore[attr-defined]


async def test_the_probe_writes_one_row(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "PROBE_AFTER_SECONDS", 0.01)
    async with services_on(database_url):

        def probed() -> bool:
            with psycopg.connect(database_url) as connection:
                rows = connection.execute("SELECT count(*) FROM operations.write_probe").fetchall()
            return rows == [(1,)]

        await until(probed)
