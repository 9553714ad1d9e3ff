"""A new version of a read table is built beside the old one before use; an unused one is dropped."""

import asyncio
from datetime import datetime
from uuid import UUID

import msgspec
import psycopg
import pytest

from huajuan.domain.account import Account
from huajuan.postgres.statements import Statements
from huajuan.projections.engine.projection import Handler, Projection, of_stream
from huajuan.projections.engine.table import Table
from huajuan.projections.rebuild.schemas import (
    DROP_UNUSED,
    build_read_tables,
    drop_unused_versions,
    record_use,
)
from huajuan.projections.rebuild.session import RebuildLimits
from huajuan.projections.registry import PROJECTIONS
from huajuan.projections.users import USERS
from tests.event_store.helpers import opened
from tests.projections.gallery import SECONDS_MAX, append_history, projecting, read_table
from tests.projections.rebuild.test_rebuild import SMALL, populate, run_rebuild, schemas


class Newer(msgspec.Struct):
    """A row of the table `users` in its next version, with fewer columns."""

    account_id: UUID
    since: datetime


NEWER = Projection(
    "users",
    version=USERS.version + 1,
    table=Table("users", Newer, "account_id"),
    handlers={
        Account.Registered: Handler(
            of_stream, lambda _, event, __: Newer(event.originator_id, event.timestamp)
        )
    },
)


async def test_old_and_new_versions_run_side_by_side(database_url: str) -> None:
    logged: list[str] = []
    async with projecting(database_url, (USERS,)) as (store, projector):
        position = await append_history(store, 3)
        await projector.wait_for_position(position, USERS, seconds_max=SECONDS_MAX)
        await asyncio.to_thread(build_read_tables, database_url, (NEWER,), logged.append)
        assert logged[0] == f"building {NEWER.schema} from the log"
        assert len(read_table(database_url, NEWER)) == 3
        async with projecting(database_url, (NEWER,)) as (_, newer):
            position = await append_history(store, 2, "later")
            assert await projector.wait_for_position(position, USERS, seconds_max=SECONDS_MAX)
            assert await newer.wait_for_position(position, NEWER, seconds_max=SECONDS_MAX)
        assert len(read_table(database_url, USERS)) == len(read_table(database_url, NEWER)) == 5


_INDEXES = """
SELECT schemaname, indexdef, conname FROM pg_indexes
  LEFT JOIN pg_constraint ON conname = indexname AND connamespace = schemaname::regnamespace AND contype = 'p'
 WHERE schemaname ~ '_v[0-9]+$' ORDER BY 1, 2
"""


async def test_a_rebuilt_table_has_the_same_keys_and_indexes_as_an_empty_one(database_url: str) -> None:
    await populate(database_url)
    with psycopg.connect(database_url, autocommit=True) as connection:
        made_empty = connection.execute(_INDEXES).fetchall()
        for limits in (SMALL, RebuildLimits()):
            await run_rebuild(database_url, limits=limits)
            assert connection.execute(_INDEXES).fetchall() == made_empty
    assert sum(key is not None for _, _, key in made_empty) == len(PROJECTIONS)


async def test_processes_that_start_at_the_same_time_build_it_once(database_url: str) -> None:
    async with projecting(database_url, (USERS,)) as (store, _):
        await append_history(store, 2)
    builds = (asyncio.to_thread(build_read_tables, database_url, (NEWER,), lambda _: None) for _ in range(4))
    await asyncio.gather(*builds)
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT count(*) FROM operations.rebuilds").fetchone() == (1,)


async def test_the_remains_of_a_killed_rebuild_are_removed_at_the_next_start(database_url: str) -> None:
    build_read_tables(database_url, (USERS,), lambda _: None)
    with psycopg.connect(database_url, autocommit=True) as connection:
        for schema in (f"{USERS.schema}_new", f"{USERS.schema}_old"):
            connection.execute(f"CREATE SCHEMA {schema} CREATE TABLE users (a int)".encode())
        rebuilding = f"SELECT pg_advisory_lock(hashtext('huajuan rebuild {USERS.schema}'))"
        connection.execute(rebuilding)
        build_read_tables(database_url, (USERS,), lambda _: None)
        assert {f"{USERS.schema}_new", f"{USERS.schema}_old"} <= schemas(database_url)
    build_read_tables(database_url, (USERS,), lambda _: None)
    assert not {f"{USERS.schema}_new", f"{USERS.schema}_old"} & schemas(database_url)


@pytest.mark.parametrize("is_used", [True, False])
async def test_an_older_version_is_dropped_after_a_day_without_use(database_url: str, is_used: bool) -> None:
    build_read_tables(database_url, (USERS,), lambda _: None)
    build_read_tables(database_url, (NEWER,), lambda _: None)
    async with opened(database_url) as store:
        statements = Statements(store._pool, SECONDS_MAX)
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute("UPDATE operations.checkpoints SET moved_at = now() - interval '25 hours'")
            connection.execute("UPDATE operations.tables_in_use SET seen_at = now() - interval '25 hours'")
        if is_used:
            await record_use(statements, (USERS,))
            ((dropped_late,),) = await statements.run(DROP_UNUSED, {"schema": USERS.schema, "hours": 24})
            assert dropped_late is False
        dropped = await drop_unused_versions(statements, (NEWER,), 24)
        assert dropped == ([] if is_used else [USERS.schema])
        assert (USERS.schema in schemas(database_url)) == is_used
