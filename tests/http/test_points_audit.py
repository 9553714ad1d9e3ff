"""Missing points are reported by `/readyz`, the metrics and the log, and stop nothing."""

from typing import Any

import httpx
import psycopg
import pytest
from structlog.testing import capture_logs

from huajuan.event_store.errors import DatabaseUnavailable
from huajuan.projections.engine.table import ReadTables
from huajuan.projections.point_balances import POINT_BALANCES
from tests.http.conftest import body
from tests.http.test_metrics import scrape
from tests.services import client_of, until

OFTEN = {"audit_points_every_seconds": 0.02, "welcome_points": 50}
# Opposite errors of two accounts do not cancel each other out.
ASTRAY = (
    f"UPDATE {POINT_BALANCES.schema}.point_balances b SET available = available + d.off "
    "FROM (SELECT account_id, CASE row_number() OVER (ORDER BY account_id) WHEN 1 THEN 3 ELSE -3 END AS off "
    f"FROM {POINT_BALANCES.schema}.point_balances) d WHERE d.account_id = b.account_id"
)
SHOUT = "points are unbalanced"
# No account has spent points.
MENDED = f"UPDATE {POINT_BALANCES.schema}.point_balances SET available = granted"
UNBALANCED = {"message": "操作成功，但积分账目不平", "points": "unbalanced by 6"}


def told(lines: list[Any], event: str) -> list[Any]:
    """The log lines of this event."""
    return [line for line in lines if line["event"] == event]


async def register(client: httpx.AsyncClient, *names: str) -> None:
    for name in names:
        form = {"username": name, "email": f"{name}@example.org", "password": "secret"}
        assert (await client.post("/register", json=form)).status_code == 200


def change(dsn: str, statement: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(statement.encode())


async def readiness(client: httpx.AsyncClient) -> dict[str, Any]:
    reply = await client.get("/readyz")
    assert reply.status_code == 200, "a breach stops nothing"
    said = body(reply)
    return {name: said[name] for name in UNBALANCED}


async def tells(client: httpx.AsyncClient, said: dict[str, Any]) -> None:
    async def is_told() -> bool:
        return await readiness(client) == said

    await until(is_told)


async def test_a_breach_shouts_wherever_somebody_looks_and_stops_nothing(database_url: str) -> None:
    with capture_logs() as lines:
        async with client_of(database_url, **OFTEN) as client:
            await register(client, "ann", "ben")
            await tells(client, {"message": "操作成功", "points": "balanced"})
            assert (await scrape(client)).of("huajuan_points_unaccounted") == 0
            assert told(lines, SHOUT) == []
            change(database_url, ASTRAY)
            await tells(client, UNBALANCED)
            assert (await scrape(client)).of("huajuan_points_unaccounted") == 6
            await until(lambda: len(told(lines, SHOUT)) > 1)
            assert {(one["log_level"], one["by"]) for one in told(lines, SHOUT)} == {("error", 6)}
            await register(client, "cid")
            change(database_url, MENDED)
            await until(lambda: bool(told(lines, "points are balanced again")))


async def test_it_is_looked_for_in_bounded_turns(database_url: str) -> None:
    async with client_of(database_url, **{**OFTEN, "audit_points_every_seconds": 3600.0}) as client:
        await tells(client, {"message": "操作成功", "points": "balanced"})
        await register(client, "ann")
        change(database_url, ASTRAY)
        for _ in range(3):
            assert (await readiness(client))["points"] == "balanced"
            assert (await scrape(client)).of("huajuan_points_unaccounted") == 0


async def test_an_outage_is_survived_and_is_no_balance(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> None:
        raise DatabaseUnavailable

    async with client_of(database_url, **OFTEN) as client:
        await register(client, "ann", "ben")
        with monkeypatch.context() as patch:
            patch.setattr(ReadTables, "all", away)

            async def is_unknown() -> bool:
                said = body(await client.get("/readyz"))
                return (said["database"], said["points"]) == (False, "unknown")

            await until(is_unknown)
        change(database_url, ASTRAY)
        await tells(client, UNBALANCED)
