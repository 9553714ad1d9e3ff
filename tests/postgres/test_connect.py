"""Each connection has the session settings that the code needs, whatever the role or the database has."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

import huajuan
from huajuan.audit.connection import open_read_only
from huajuan.event_store.schema import _Datastore
from huajuan.postgres.connect import SESSION_SETTINGS, connect, connect_blocking, open_pool
from huajuan.projections.rebuild.session import connection as rebuild_connection
from tests.http.conftest import ORDER
from tests.jobs.fake_server import FakeInferenceServer
from tests.services import client_of

# Settings that a role, a database or the environment may have for another program.
ODD = {
    "search_path": "nowhere",
    "standard_conforming_strings": "off",
    "timezone": "Asia/Shanghai",
    "datestyle": "German, DMY",
    "intervalstyle": "iso_8601",
    "bytea_output": "escape",
    "extra_float_digits": "-3",
    "array_nulls": "off",
    "transform_null_equals": "on",
    "check_function_bodies": "off",
    "row_security": "on",
    "gin_fuzzy_search_limit": "1",
    "default_transaction_isolation": "serializable",
    "default_transaction_deferrable": "on",
    "statement_timeout": "5ms",
    "lock_timeout": "1ms",
    "idle_in_transaction_session_timeout": "1s",
    "idle_session_timeout": "1s",
    "synchronous_commit": "off",
    "client_encoding": "LATIN1",
}
ODD_ENVIRONMENT = {
    "PGCLIENTENCODING": "LATIN1",
    "PGTZ": "Asia/Shanghai",
    "PGDATESTYLE": "German",
    "PGOPTIONS": "-c search_path=nowhere -c statement_timeout=5ms -c extra_float_digits=-3",
}
EXPECTED = {**SESSION_SETTINGS, "client_encoding": "UTF8"}
ONLY_OPENERS = {"event_store/schema.py", "postgres/connect.py"}


def alter(dsn: str, settings: dict[str, str]) -> None:
    name = sql.Identifier(conninfo_to_dict(dsn)["dbname"])  # type: ignore[arg-type]
    with psycopg.connect(dsn, autocommit=True) as connection:
        for setting, value in settings.items():
            statement = sql.SQL("ALTER DATABASE {} SET {} = {}")
            # As a literal, a list would be one name.
            connection.execute(statement.format(name, sql.Identifier(setting), sql.SQL(f"'{value}'")))


@pytest.fixture
def odd_database_url(database_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    alter(database_url, ODD)
    for name, value in ODD_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    return database_url


def settings_of(connection: psycopg.Connection[Any], names: set[str]) -> dict[str, str]:
    query = "SELECT lower(name), current_setting(name) FROM pg_settings WHERE lower(name) = ANY(%s)"
    with connection.cursor(row_factory=psycopg.rows.tuple_row) as cursor:
        return dict(cursor.execute(query, (list(names),)).fetchall())


def needed_settings(connection: psycopg.Connection[Any]) -> dict[str, str]:
    """The settings that this server has."""
    return settings_of(connection, set(EXPECTED))


def openers(dsn: str) -> Iterator[tuple[str, Any]]:
    yield "blocking", connect_blocking(dsn)
    yield "in a transaction", connect_blocking(dsn, autocommit=False)
    yield "audit", open_read_only(dsn)
    yield "rebuild", rebuild_connection(dsn)
    yield "library", _Datastore(dsn).get_connection()


def test_a_plain_connection_has_the_odd_settings(odd_database_url: str) -> None:
    """Else the tests below would prove nothing."""
    with psycopg.connect(odd_database_url, autocommit=True) as connection:
        connection.execute("SET statement_timeout = 0")
        found = needed_settings(connection)
    assert all(found[name] != EXPECTED[name] for name in found if name in ODD)


def test_each_blocking_connection_has_our_settings(odd_database_url: str) -> None:
    for name, opener in openers(odd_database_url):
        with opener as connection:
            found = needed_settings(connection)
            assert found == {setting: EXPECTED[setting] for setting in found}, name
            assert len(found) >= len(EXPECTED) - 1, "an older server lacks one of them"
            assert settings_of(connection, {"statement_timeout"}) == {"statement_timeout": "0"}, name


async def test_each_async_connection_has_our_settings(odd_database_url: str) -> None:
    names = list(EXPECTED)
    query = "SELECT lower(name), current_setting(name) FROM pg_settings WHERE lower(name) = ANY(%s)"
    async with await connect(odd_database_url, 10) as connection:
        alone: dict[str, str] = dict(await (await connection.execute(query, (names,))).fetchall())
    async with open_pool(odd_database_url, 2) as pool, pool.connection() as connection:
        pooled: dict[str, str] = dict(await (await connection.execute(query, (names,))).fetchall())
    assert alone == pooled == {name: EXPECTED[name] for name in alone}


@pytest.mark.parametrize(
    ("given", "used"),
    [("off", "on"), ("local", "on"), ("remote_write", "on"), ("on", "on"), ("remote_apply", "remote_apply")],
)
async def test_synchronous_commit_is_never_weaker_than_on(database_url: str, given: str, used: str) -> None:
    alter(database_url, {"synchronous_commit": given})
    async with await connect(database_url, 10) as connection:
        assert await (await connection.execute("SHOW synchronous_commit")).fetchone() == (used,)
    with connect_blocking(database_url) as blocking:
        assert blocking.execute("SHOW synchronous_commit").fetchone() == (used,)


async def test_other_options_of_the_user_stay(database_url: str) -> None:
    options = "-c work_mem=77MB -c search_path=nowhere"
    dsn = make_conninfo(database_url, options=options, application_name="mine", client_encoding="LATIN1")
    for name, opener in openers(dsn):
        with opener as connection:
            assert settings_of(connection, {"work_mem"}) == {"work_mem": "77MB"}, name
            found = needed_settings(connection)
            assert (found["search_path"], found["client_encoding"]) == ("pg_catalog", "UTF8"), name
    async with await connect(dsn, 10) as connection:
        assert await (await connection.execute("SHOW work_mem")).fetchone() == ("77MB",)
        assert connection.info.parameter_status("application_name") == "mine"


async def test_a_service_works_on_odd_settings(odd_database_url: str) -> None:
    """Texts of all scripts round-trip, times are correct, and nothing times out."""
    async with client_of(odd_database_url, FakeInferenceServer()) as client:
        form = {"username": "小明 — Ünï", "email": "ming@example.org", "password": "secret"}
        assert (await client.post("/register", json=form)).status_code == 200
        who = {"Authorization": (await client.post("/login", json=form)).json()["token"]}
        assert (await client.get("/auth/score", headers=who)).status_code == 200
        reply = await client.post("/auth/generate", json={**ORDER, "prompt": r"日出 \n 'ö' 🌅"}, headers=who)
        assert (reply.status_code, reply.json()["score"]) == (200, 80)
        (image,) = (await client.get("/auth/user/images", headers=who)).json()["images"]
        assert (image["prompt"], image["username"]) == (r"日出 \n 'ö' 🌅", "小明 — Ünï")
        assert len((await client.get("/auth/image/feature?feature=日出", headers=who)).json()["images"]) == 1
        ready = (await client.get("/readyz")).json()
        assert (ready["status"], ready["points"] != "unbalanced") == ("ready", True)


def test_no_other_module_opens_a_connection() -> None:
    root = Path(huajuan.__file__).parent
    opens = re.compile(
        r"psycopg\.connect\(|Connection\.connect\(|ConnectionPool(\[.*\])?\(|PostgresDatastore\("
    )
    found = {
        str(path.relative_to(root)) for path in root.rglob("*.py") if opens.search(path.read_text("utf-8"))
    }
    assert found == ONLY_OPENERS
