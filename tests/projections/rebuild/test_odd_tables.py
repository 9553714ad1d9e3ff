"""Tables that somebody dropped or gave other columns, and what somebody still reads: all of it ends well, and is told."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from huajuan.projections.rebuild.cleanup import drop_leftovers, keep_clearing_leftovers
from huajuan.projections.rebuild.errors import StillRead
from huajuan.projections.rebuild.first_build import build_read_tables
from huajuan.projections.rebuild.limits import RebuildLimits
from huajuan.projections.registry import PROJECTIONS
from huajuan.projections.users import USERS
from tests.projections.gallery import SECONDS_MAX, all_tables, projecting, some_life
from tests.projections.rebuild.test_rebuild import LIVE, lived, notes, rebuilt, schemas
from tests.services import until

HASTY = RebuildLimits(drop_wait_seconds_max=0.05, drop_tries_max=2)
ODD = {
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
def read_by_somebody(dsn: str, table: str) -> Iterator[None]:
    with psycopg.connect(dsn) as connection:
        connection.execute(f"SELECT count(*) FROM {table}".encode())
        yield


@pytest.mark.parametrize("how", ODD.values(), ids=ODD)
async def test_a_rebuild_mends_a_table_that_is(database_url: str, how: str) -> None:
    await lived(database_url)
    before = all_tables(database_url)
    execute(database_url, how)
    report = await rebuilt(database_url)
    assert [(d.table, d.rows, d.misshapen) for d in report.differences] == [("likes", 0, True)]
    assert all_tables(database_url) == before
    assert (schemas(database_url), notes(database_url)) == (LIVE, [("done",)])
    assert (await rebuilt(database_url)).differences == []


@pytest.mark.parametrize("how", ["gone", "gone with its schema"])
async def test_whoever_starts_makes_what_is(database_url: str, how: str) -> None:
    await lived(database_url)
    before = all_tables(database_url)
    execute(database_url, ODD[how])
    await asyncio.to_thread(build_read_tables, database_url, PROJECTIONS, lambda _: None)
    assert all_tables(database_url) == before
    async with projecting(database_url) as (store, projector):
        position = await some_life(store, 1, "later")
        assert await projector.reach(position, *PROJECTIONS, seconds_max=SECONDS_MAX)


async def test_an_old_table_that_is_still_read_is_left_for_later(database_url: str) -> None:
    await lived(database_url)
    execute(database_url, "UPDATE users_v1.users SET avatar_url = 'x' WHERE id = 1")
    with read_by_somebody(database_url, "users_v1.users"):
        report = await rebuilt(database_url, (USERS,), HASTY)
        assert report.left == ["users_v1_old"]
        assert [difference.rows for difference in report.differences] == [1]
        assert notes(database_url) == [("done",)]
        with pytest.raises(StillRead, match=r"users_v1_old, which an earlier rebuild left, is still read"):
            await rebuilt(database_url, (USERS,), HASTY)
        began = time.monotonic()
        await asyncio.to_thread(build_read_tables, database_url, PROJECTIONS, lambda _: None)
        assert time.monotonic() - began < SECONDS_MAX, "nobody who starts waits for a reader"
        assert schemas(database_url) == LIVE | {"users_v1_old"}
    assert (await rebuilt(database_url, (USERS,), HASTY)).differences == []
    assert schemas(database_url) == LIVE


async def test_a_service_clears_up_behind_a_rebuild_that_died(database_url: str) -> None:
    for schema in ("likes_v1_new", "users_v1_old"):
        execute(database_url, f"CREATE SCHEMA {schema}")
    execute(
        database_url,
        "INSERT INTO operations.rebuilds (projections) VALUES ('{likes_v1}'), ('{favorites_v1}')",
    )
    clearing = asyncio.create_task(keep_clearing_leftovers(database_url, PROJECTIONS, HASTY, 0.01))
    await until(lambda: notes(database_url) == [("died",)] * 2 and schemas(database_url) == LIVE)
    clearing.cancel()


def test_what_is_being_rebuilt_is_left_alone(database_url: str) -> None:
    execute(database_url, "CREATE SCHEMA likes_v1_new")
    execute(database_url, "INSERT INTO operations.rebuilds (projections) VALUES ('{likes_v1}')")
    with psycopg.connect(database_url, autocommit=True) as alive:
        alive.execute("SELECT pg_advisory_lock(hashtext('huajuan rebuild likes_v1'))")
        with psycopg.connect(database_url, autocommit=True) as connection:
            drop_leftovers(connection, PROJECTIONS, HASTY)
    assert "likes_v1_new" in schemas(database_url)
    assert notes(database_url) == [(None,)]
