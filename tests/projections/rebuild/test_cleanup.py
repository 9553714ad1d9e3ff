"""Tables dropped or altered by hand, old tables that are still read, and remains of dead rebuilds."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from huajuan.projections.rebuild.cleanup import clean_up_rebuilds, remove_remains
from huajuan.projections.rebuild.errors import SchemaInUse
from huajuan.projections.rebuild.first_build import build_read_tables
from huajuan.projections.rebuild.session import RebuildLimits
from huajuan.projections.registry import PROJECTIONS
from huajuan.projections.users import USERS
from tests.projections.gallery import SECONDS_MAX, append_history, projecting, read_all_tables
from tests.projections.rebuild.test_rebuild import LIVE, outcomes, populate, run_rebuild, schemas

QUICK_DROP = RebuildLimits(drop_wait_seconds_max=0.05, drop_tries_max=2)
DAMAGE = {
    "gone": "DROP TABLE likes_v1.likes",
    "gone with its schema": "DROP SCHEMA likes_v1 CASCADE",
    "a column more": "ALTER TABLE likes_v1.likes ADD COLUMN note text",
    "a column less": "ALTER TABLE likes_v1.likes DROP COLUMN time",
    "another type": "ALTER TABLE likes_v1.likes ALTER COLUMN time TYPE text",
}


def execute(dsn: str, statement: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(statement.encode())


@contextmanager
def being_read(dsn: str, table: str) -> Iterator[None]:
    with psycopg.connect(dsn) as connection:
        connection.execute(f"SELECT count(*) FROM {table}".encode())
        yield


@pytest.mark.parametrize("how", DAMAGE.values(), ids=DAMAGE)
async def test_a_rebuild_repairs_a_table_that_is(database_url: str, how: str) -> None:
    await populate(database_url)
    before = read_all_tables(database_url)
    execute(database_url, how)
    report = await run_rebuild(database_url)
    assert [(d.table, d.rows, d.misshapen) for d in report.differences] == [("likes", 0, True)]
    assert read_all_tables(database_url) == before
    assert (schemas(database_url), outcomes(database_url)) == (LIVE, [("done",)])
    assert (await run_rebuild(database_url)).differences == []


@pytest.mark.parametrize("how", ["gone", "gone with its schema"])
async def test_a_start_builds_a_table_that_is(database_url: str, how: str) -> None:
    await populate(database_url)
    before = read_all_tables(database_url)
    execute(database_url, DAMAGE[how])
    await asyncio.to_thread(build_read_tables, database_url, PROJECTIONS, lambda _: None)
    assert read_all_tables(database_url) == before
    async with projecting(database_url) as (store, projector):
        position = await append_history(store, 1, "later")
        assert await projector.wait_for_position(position, *PROJECTIONS, seconds_max=SECONDS_MAX)


async def test_an_old_table_that_is_still_read_is_dropped_later(database_url: str) -> None:
    await populate(database_url)
    execute(database_url, "UPDATE users_v1.users SET avatar_url = 'x' WHERE id = 1")
    with being_read(database_url, "users_v1.users"):
        report = await run_rebuild(database_url, (USERS,), QUICK_DROP)
        assert report.left == ["users_v1_old"]
        assert [difference.rows for difference in report.differences] == [1]
        assert outcomes(database_url) == [("done",)]
        with pytest.raises(
            SchemaInUse, match=r"users_v1_old, a schema of an earlier rebuild, is still being read"
        ):
            await run_rebuild(database_url, (USERS,), QUICK_DROP)
        began = time.monotonic()
        await asyncio.to_thread(build_read_tables, database_url, PROJECTIONS, lambda _: None)
        assert time.monotonic() - began < SECONDS_MAX, "a start does not wait for a reader"
        assert schemas(database_url) == LIVE | {"users_v1_old"}
    assert (await run_rebuild(database_url, (USERS,), QUICK_DROP)).differences == []
    assert schemas(database_url) == LIVE


async def test_the_remains_of_a_dead_rebuild_are_removed(database_url: str) -> None:
    for schema in ("likes_v1_new", "users_v1_old"):
        execute(database_url, f"CREATE SCHEMA {schema}")
    execute(
        database_url,
        "INSERT INTO operations.rebuilds (projections) VALUES ('{likes_v1}'), ('{favorites_v1}')",
    )
    await clean_up_rebuilds(database_url, PROJECTIONS, QUICK_DROP)
    assert (outcomes(database_url), schemas(database_url)) == ([("died",)] * 2, LIVE)


def test_a_running_rebuild_is_left_alone(database_url: str) -> None:
    execute(database_url, "CREATE SCHEMA likes_v1_new")
    execute(database_url, "INSERT INTO operations.rebuilds (projections) VALUES ('{likes_v1}')")
    with psycopg.connect(database_url, autocommit=True) as alive:
        alive.execute("SELECT pg_advisory_lock(hashtext('huajuan rebuild likes_v1'))")
        with psycopg.connect(database_url, autocommit=True) as connection:
            remove_remains(connection, PROJECTIONS, QUICK_DROP)
    assert "likes_v1_new" in schemas(database_url)
    assert outcomes(database_url) == [(None,)]
