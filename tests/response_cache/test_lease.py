"""The cache lease: one server at a time holds it, no other server folds meanwhile, and swaps wait for it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
import pytest
import pytest_asyncio

from huajuan.postgres.connect import open_pool
from huajuan.postgres.statements import Statements
from huajuan.projections.users import USERS
from huajuan.response_cache.lease import CacheLease, LeaseHeld, suspend_leases, without_lease
from huajuan.response_cache.versions import CacheVersions
from tests.event_store.helpers import opened, register
from tests.projections.gallery import SECONDS_MAX, projecting
from tests.response_cache.test_versions import current, new_versions
from tests.services import until

SECONDS = 0.5


@pytest_asyncio.fixture
async def statements(database_url: str) -> AsyncIterator[Statements]:
    async with opened(database_url), open_pool(database_url, 2) as pool:
        yield Statements(pool, SECONDS_MAX)


async def acquire(statements: Statements, of_server: CacheVersions, seconds: float = SECONDS) -> bool:
    before = of_server.lease_seconds_left
    await CacheLease(statements, of_server, seconds)._acquire()
    return of_server.lease_seconds_left > before


async def test_one_server_holds_the_lease_and_a_gap_changes_the_epoch(statements: Statements) -> None:
    one, other = new_versions(), new_versions()
    assert current(one) is None
    assert await acquire(statements, one)
    first = current(one)
    assert await acquire(statements, one)
    assert current(one) == first, "a renewal keeps the epoch"
    assert not await acquire(statements, other)
    await asyncio.sleep(SECONDS * 1.2)
    assert current(one) is None
    assert await acquire(statements, other)
    assert not await acquire(statements, one)
    await asyncio.sleep(SECONDS * 1.2)
    assert await acquire(statements, one)
    assert current(one) not in (None, first)


async def test_no_server_gets_the_lease_beside_another_server(database_url: str) -> None:
    async with projecting(database_url, ()) as (_, here), open_pool(database_url, 2) as pool:
        statements = Statements(pool, SECONDS_MAX)

        async def holds_lease() -> bool:
            return await acquire(statements, here.versions)

        await until(holds_lease)
        async with projecting(database_url, ()) as (_, there):
            await asyncio.sleep(SECONDS * 1.2)
            await until(lambda: serving(database_url) == 2)
            assert not await acquire(statements, here.versions)
            assert not await acquire(statements, there.versions)
        await until(holds_lease)


def serving(dsn: str) -> int:
    with psycopg.connect(dsn) as connection:
        query = (
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name LIKE 'huajuan serves %'"
        )
        return connection.execute(query).fetchall()[0][0]  # type: ignore[no-any-return]


async def test_no_other_server_folds_during_a_lease(database_url: str) -> None:
    """A server that has just started waits until the lease of the other has expired."""
    other_server = new_versions()
    async with projecting(database_url, (USERS,), poll_seconds=0.1) as (store, projector):
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute(
                "UPDATE operations.cache_lease "
                "SET holder = %s, expires_at = clock_timestamp() + interval '1 second'",
                (other_server.holder,),
            )
        await register(store, "ann")
        assert not await projector.wait_for_position(1, USERS, seconds_max=0.5)
        assert await projector.wait_for_position(1, USERS, seconds_max=SECONDS_MAX)


async def test_a_swap_waits_for_the_lease_and_blocks_new_ones(
    statements: Statements, database_url: str
) -> None:
    one = new_versions()
    assert await acquire(statements, one)
    async with other_session(database_url) as connection:
        with pytest.raises(LeaseHeld), without_lease(connection):
            pytest.fail("the lease has not expired")
        connection.rollback()
        await asyncio.to_thread(suspend_leases, connection)
        connection.commit()
        assert current(one) is None
        assert not await acquire(statements, one)
        with without_lease(connection):
            assert not await acquire(statements, one)
        assert not await acquire(statements, one), "not before the transaction of the swap has ended"
        connection.commit()
        assert await acquire(statements, one)


@asynccontextmanager
async def other_session(dsn: str) -> AsyncIterator[psycopg.Connection]:
    with psycopg.connect(dsn) as connection:
        yield connection
