"""Tables dropped or altered by hand, old tables that are still read, and remains of dead rebuilds."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from huajuan.projections.favorites import FAVORITES
from huajuan.projections.likes import LIKES
from huajuan.projections.rebuild.schemas import build_read_tables, clean_up_rebuilds, remove_remains
from huajuan.projections.rebuild.session import RebuildLimits, SchemaInUse
from huajuan.projections.registry import PROJECTIONS
from huajuan.projections.users import USERS
from tests.projections.gallery import SECONDS_MAX, append_history, projecting, read_all_tables
from tests.projections.rebuild.test_rebuild import LIVE, outcomes, populate, run_rebuild, schemas

QUICK_DROP = RebuildLimits(drop_wait_seconds_max=0.05, drop_tries_max=2)
DAMAGE = {
    "gone": f"DROP TABLE {LIKES.schema}.likes",
    "gone with its schema": f"DROP SCHEMA {LIKES.schema} CASCADE",
    "a column more": f"ALTER TABLE {LIKES.schema}.likes ADD COLUMN note text",
    "a column less": f"ALTER TABLE {LIKES.schema}.likes DROP COLUMN time",
    "another type": f"ALTER TABLE {LIKES.schema}.likes ALTER COLUMN time TYPE text",
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
    execute(database_url, f"UPDATE {USERS.schema}.users SET avatar_url = 'x' WHERE id = 1")
    with being_read(database_url, f"{USERS.schema}.users"):
        report = await run_rebuild(database_url, (USERS,), QUICK_DROP)
        assert report.left == [f"{USERS.schema}_old"]
        assert [difference.rows for difference in report.differences] == [1]
        assert outcomes(database_url) == [("done",)]
        with pytest.raises(
            SchemaInUse, match=rf"{USERS.schema}_old, a schema of an earlier rebuild, is still being read"
        ):
            await run_rebuild(database_url, (USERS,), QUICK_DROP)
        began = time.monotonic()
        await asyncio.to_thread(build_read_tables, database_url, PROJECTIONS, lambda _: None)
        assert time.monotonic() - began < SECONDS_MAX, "a start does not wait for a reader"
        assert schemas(database_url) == LIVE | {f"{USERS.schema}_old"}
    assert (await run_rebuild(database_url, (USERS,), QUICK_DROP)).differences == []
    assert schemas(database_url) == LIVE


async def test_the_remains_of_a_dead_rebuild_are_removed(database_url: str) -> None:
    for schema in (f"{LIKES.schema}_new", f"{USERS.schema}_old"):
        execute(database_url, f"CREATE SCHEMA {schema}")
    execute(
        database_url,
        "INSERT INTO operations.rebuilds (projections) "
        f"VALUES ('{{{LIKES.schema}}}'), ('{{{FAVORITES.schema}}}')",
    )
    await clean_up_rebuilds(database_url, PROJECTIONS, QUICK_DROP)
    assert (outcomes(database_url), schemas(database_url)) == ([("died",)] * 2, LIVE)


def test_a_running_rebuild_is_left_alone(database_url: str) -> None:
    execute(database_url, f"CREATE SCHEMA {LIKES.schema}_new")
    execute(database_url, f"INSERT INTO operations.rebuilds (projections) VALUES ('{{{LIKES.schema}}}')")
    with psycopg.connect(database_url, autocommit=True) as alive:
        alive.execute(f"SELECT pg_advisory_lock(hashtext('huajuan rebuild {LIKES.schema}'))")
        with psycopg.connect(database_url, autocommit=True) as connection:
            remove_remains(connection, PROJECTIONS, QUICK_DROP)
    assert f"{LIKES.schema}_new" in schemas(database_url)
    assert outcomes(database_url) == [(None,)]
