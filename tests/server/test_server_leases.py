"""Server leases: a server with another secret does not start, and other differences are reported."""

import asyncio
import dataclasses
import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import msgspec
import psycopg
import pytest
import structlog.testing

from huajuan.event_store.stream_ids import load_stream_ids_blocking
from huajuan.server import server_leases
from huajuan.server.server_leases import (
    SecretDiffers,
    ServerIdentity,
    acquire_lease,
    disagreements,
    live_servers,
    make_server_identity,
    release_lease,
)
from huajuan.settings import Settings
from tests.services import SECRET, client_of, until

OTHER_SECRET = "another secret of at least thirty-two bytes"
SETTINGS = Settings(jwt_secret=SECRET)


def identity(dsn: str, **changes: Any) -> ServerIdentity:
    with psycopg.connect(dsn) as connection:
        ids = load_stream_ids_blocking(connection)
    return make_server_identity(dataclasses.replace(SETTINGS, **changes), ids)


def run(dsn: str, statement: str, **values: object) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        cursor = connection.execute(statement.encode(), values)
        return cursor.fetchall() if cursor.description else []


def alive(dsn: str) -> list[str]:
    with psycopg.connect(dsn) as connection:
        return [server.name for server in live_servers(connection)]


def renewed(dsn: str, own: ServerIdentity, seconds: float) -> None:
    """Renews the lease as its workers would."""
    statement = (
        "UPDATE operations.servers SET expires_at = clock_timestamp() + make_interval(secs => %(s)s) "
        "WHERE id = %(id)s"
    )
    run(dsn, statement, s=seconds, id=own.id)


def test_servers_with_one_secret_run_together(database_url: str) -> None:
    one, two = identity(database_url), identity(database_url)
    acquire_lease(database_url, one)
    acquire_lease(database_url, two)
    assert alive(database_url) == [one.name, two.name]
    release_lease(database_url, one)
    release_lease(database_url, two)
    assert alive(database_url) == []


def test_another_secret_than_a_live_servers_is_rejected(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = msgspec.structs.replace(identity(database_url), name="gpu-1:4711")
    acquire_lease(database_url, one)
    lapses = iter(range(60, 600))
    monkeypatch.setattr(
        "huajuan.server.server_leases.time.sleep", lambda _: renewed(database_url, one, next(lapses))
    )
    with pytest.raises(SecretDiffers) as refused:
        acquire_lease(database_url, identity(database_url, jwt_secret=OTHER_SECRET))
    line = str(refused.value)
    assert "HUAJUAN_JWT_SECRET differs from that of the server gpu-1:4711" in line
    assert SECRET not in line
    assert OTHER_SECRET not in line
    assert alive(database_url) == ["gpu-1:4711"]


def test_the_lease_of_a_killed_server_is_awaited(database_url: str) -> None:
    one, two = identity(database_url), identity(database_url, jwt_secret=OTHER_SECRET)
    acquire_lease(database_url, one)
    renewed(database_url, one, 0.6)
    acquire_lease(database_url, two)
    assert alive(database_url) == [two.name]
    assert run(database_url, "SELECT count(*) FROM operations.servers") == [(1,)], "lapsed rows go"


def test_of_two_simultaneous_secrets_one_is_rejected(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Leases that are not renewed, and do not expire during the test."""
    monkeypatch.setattr(server_leases, "LEASE_SECONDS", 0.5)
    monkeypatch.setattr(server_leases, "_TAKE", server_leases._TAKE.replace("%(seconds)s)", "600)"))
    candidates = [identity(database_url, jwt_secret=secret) for secret in (SECRET, OTHER_SECRET) * 4]

    def is_taken(own: ServerIdentity) -> bool:
        try:
            acquire_lease(database_url, own)
        except SecretDiffers:
            return False
        return True

    with ThreadPoolExecutor(8) as crowd:
        taken = list(crowd.map(is_taken, candidates))
    assert {own.secret for own, was_taken in zip(candidates, taken, strict=True) if was_taken} in (
        {candidates[0].secret},
        {candidates[1].secret},
    )
    assert sum(taken) == 4


def test_neither_secret_nor_settings_can_be_guessed_from_the_row(database_url: str) -> None:
    acquire_lease(database_url, identity(database_url, welcome_points=7))
    ((row,),) = run(database_url, "SELECT to_jsonb(s)::text FROM operations.servers s")
    for kind in ("md5", "sha1", "sha256", "sha512"):
        assert hashlib.new(kind, SECRET.encode()).hexdigest() not in row
    assert SECRET not in row
    assert '"7"' not in row
    run(database_url, "UPDATE operations.installation SET stream_key = %(key)s", key=b"k" * 32)
    own = identity(database_url, welcome_points=7)
    assert own.secret.hex() not in row
    assert not any(value in row for value in own.settings.values())


CHANGED: dict[str, dict[str, Any]] = {
    "HUAJUAN_TIME_ZONE": {"time_zone": "Asia/Shanghai"},
    "HUAJUAN_CHECK_IN_LIMIT": {"check_in_limit": "none"},
    "HUAJUAN_WELCOME_POINTS": {"welcome_points": 1},
    "HUAJUAN_PUBLIC_URL": {"public_url": "http://elsewhere.example"},
    "HUAJUAN_RESTORE_HOURS": {"restore_hours": 1},
    "HUAJUAN_STORAGE_URL": {"storage_url": "/elsewhere"},
    "HUAJUAN_JOBS_PER_ACCOUNT_MAX": {"jobs_per_account_max": 3},
    "HUAJUAN_LOGIN_ACCOUNT_FAILURES_MAX": {"login_account_failures_max": 3},
    "HUAJUAN_JWT_SECRET": {"jwt_secret": OTHER_SECRET},
}


@pytest.mark.parametrize(("name", "change"), CHANGED.items(), ids=CHANGED)
def test_each_shared_setting_is_compared(database_url: str, name: str, change: dict[str, Any]) -> None:
    assert disagreements([identity(database_url), identity(database_url, **change)]) == [name]


def test_local_settings_may_differ(database_url: str) -> None:
    public = {"public_url": "http://one.example", "storage_url": "/one"}
    here = identity(database_url, port=1, data_dir="/a", connections_max=4, workers=1, **public)
    there = identity(database_url, port=2, data_dir="/b", connections_max=9, workers=4, **public)
    assert disagreements([here, there]) == []


def test_a_setting_that_only_a_newer_program_has_is_no_difference(database_url: str) -> None:
    own = identity(database_url)
    newer = msgspec.structs.replace(own, settings=own.settings | {"HUAJUAN_NEW": "x"})
    assert disagreements([own, newer]) == []


async def problems(client: httpx.AsyncClient) -> list[Any]:
    reply = await client.get("/readyz")
    assert reply.status_code == 200
    body = reply.json()
    assert body["status"] == ("degraded" if body["problems"] else "ready")
    return list(body["problems"])


async def test_differences_are_reported_until_they_end(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_leases, "RENEW_SECONDS", 0.05)
    with structlog.testing.capture_logs() as logs:
        async with client_of(database_url, storage_url="/one") as one:

            async def agrees() -> bool:
                return await problems(one) == []

            async def is_named() -> bool:
                names = "HUAJUAN_PUBLIC_URL, HUAJUAN_STORAGE_URL, HUAJUAN_TIME_ZONE"
                detail = f"Another live server has other values of {names}."
                return await problems(one) == [
                    {"name": "settings_differ", "detail": detail, "blocking": False}
                ]

            assert await agrees()
            other = {
                "time_zone": "Asia/Shanghai",
                "public_url": "http://b.example",
                "storage_url": "memory:///b",
            }
            async with client_of(database_url, **other) as two:
                await until(is_named)

                async def is_named_there() -> bool:
                    return [problem["name"] for problem in await problems(two)] == ["settings_differ"]

                await until(is_named_there)
            await until(agrees)
    warned = [log for log in logs if log["event"] == "settings differ between servers"]
    assert len(warned) == 2, "once on each server, not at each look"
    assert set(warned[0]["settings"]) == {"HUAJUAN_PUBLIC_URL", "HUAJUAN_STORAGE_URL", "HUAJUAN_TIME_ZONE"}


async def test_replaced_database_functions_are_reported(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_leases, "RENEW_SECONDS", 0.05)
    async with client_of(database_url) as client:
        await asyncio.to_thread(
            run, database_url, "UPDATE operations.installation SET schema_digest = 'older'"
        )

        async def is_named() -> bool:
            return [problem["name"] for problem in await problems(client)] == ["schema_replaced"]

        await until(is_named)


def test_workers_of_one_server_share_its_lease(database_url: str) -> None:
    own = identity(database_url)
    acquire_lease(database_url, own)
    first = run(database_url, "SELECT ctid::text, expires_at FROM operations.servers")
    values = server_leases._values(own)
    with psycopg.connect(database_url, autocommit=True) as connection:
        for _ in range(3):
            connection.execute(server_leases._RENEW.encode(), values)
    assert run(database_url, "SELECT ctid::text, expires_at FROM operations.servers") == first, "it is fresh"
    renewed(database_url, own, 1)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(server_leases._RENEW.encode(), values)
    ((is_renewed,),) = run(
        database_url, "SELECT expires_at - clock_timestamp() > interval '3 s' FROM operations.servers"
    )
    assert is_renewed
