"""The status of the read tables: lag, rate, leader, stops and rebuilds."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from huajuan.event_store.limits import LogLimits
from huajuan.event_store.store import EventStore
from huajuan.postgres.pool import open_event_store, open_pool
from huajuan.postgres.statements import Statements
from huajuan.projections.engine.checkpoints import standings
from huajuan.projections.engine.process_name import own_name
from huajuan.projections.engine.schema import create_read_tables
from huajuan.projections.engine.status import Status, serving, statuses
from huajuan.projections.queries.read_tables import ReadTables
from huajuan.projections.users import USERS
from tests.event_store.studio import opened, register
from tests.projections.gallery import SECONDS_MAX, failing, projecting
from tests.services import until

HOUR = timedelta(hours=1)


def tables_of(store: EventStore) -> ReadTables:
    return ReadTables(Statements(store._pool, SECONDS_MAX))


async def users_status(store: EventStore) -> Status:
    (status,) = await statuses(tables_of(store), store.stream_ids, [USERS])
    return status


def change(dsn: str, statement: str, *values: Any) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(statement.encode(), values)


@asynccontextmanager
async def at(dsn: str, moment: datetime) -> AsyncIterator[EventStore]:
    """A store whose clock stands still."""
    async with open_pool(dsn, 2) as pool, open_event_store(dsn, pool, lambda: moment, LogLimits()) as store:
        yield store


@pytest.mark.parametrize(
    ("silent", "waited", "lags"),
    [(HOUR, timedelta(), False), (timedelta(), HOUR, False), (HOUR, HOUR, True)],
    ids=["an event after a silence", "old events while it moves", "neither"],
)
async def test_lag_is_for_how_long_it_did_not_move_while_events_waited(
    database_url: str, silent: timedelta, waited: timedelta, lags: bool
) -> None:
    create_read_tables(database_url, [USERS])
    now = datetime.now(UTC)
    async with at(database_url, now - waited) as store:
        await register(store, "ann")
        change(database_url, "UPDATE operations.checkpoints SET moved_at = %s", now - silent)
        (standing,) = await standings(tables_of(store), [USERS])
        status = await users_status(store)
    assert (standing.lag_events, status.lag_events) == (1, 1)
    assert [found.lag_seconds > HOUR.total_seconds() / 2 for found in (standing, status)] == [lags, lags]


async def test_who_leads_and_how_fast_is_told(database_url: str) -> None:
    async with projecting(database_url, (USERS,)) as (store, projector):
        for n in range(20):
            await register(store, f"p{n}")
        assert await projector.reach(20, USERS, seconds_max=SECONDS_MAX)
        status = await users_status(store)
    assert (status.name, status.version, status.position, status.lag_events) == ("users", 1, 20, 0)
    assert status.leader == own_name()
    # Twenty events within moments, smoothed over ten seconds.
    assert 0 < status.events_per_second <= 2
    assert (status.stopped_at, status.rebuilding, status.last_rebuild) == (None, False, None)


async def test_the_rate_fades_in_silence(database_url: str) -> None:
    async with projecting(database_url, (USERS,)) as (store, projector):
        await register(store, "ann")
        assert await projector.reach(1, USERS, seconds_max=SECONDS_MAX)
        # In a thread, for the runner on this loop may hold the row just now.
        aged = "UPDATE operations.checkpoints SET moved_at = now() - interval '90 days'"
        await asyncio.to_thread(change, database_url, aged)
        assert (await users_status(store)).events_per_second < 1e-9
        await register(store, "ben")
        assert await projector.reach(2, USERS, seconds_max=SECONDS_MAX)
        assert (await users_status(store)).events_per_second > 0


async def test_a_stopped_projection_names_the_event_and_the_kind_of_exception(database_url: str) -> None:
    bad = failing(lambda _: True)
    async with projecting(database_url, (bad,)) as (store, projector):
        await register(store, "ann")
        await until(lambda: projector.positions.is_stopped("failing_v1"))
        (status,) = await statuses(tables_of(store), store.stream_ids, [bad])
    assert (status.stopped_at, status.stopped_by) == (1, "ZeroDivisionError")
    assert (status.stopped_event, status.leader) == ("account.registered", own_name())


async def test_the_last_rebuild_of_each_table_is_told(database_url: str) -> None:
    create_read_tables(database_url, [USERS])
    async with opened(database_url) as store:
        assert (await users_status(store)).last_rebuild is None
        insert = (
            "INSERT INTO operations.rebuilds (projections, started_at, ended_at, position, head, "
            "events_per_second, outcome) VALUES (%s, %s, %s, 5, 10, 2.5, %s)"
        )
        first, then = datetime(2026, 11, 23, tzinfo=UTC), datetime(2026, 11, 24, tzinfo=UTC)
        change(database_url, insert, ["users_v1"], then, None, None)
        change(database_url, insert, ["users_v1", "likes_v1"], first, first, "swapped")
        change(database_url, insert, ["likes_v1"], then + HOUR, None, None)
        last = (await users_status(store)).last_rebuild
    assert last
    assert (last.started_at, last.ended_at, last.outcome) == (then, None, None)
    assert (last.position, last.head, last.events_per_second) == (5, 10, 2.5)


async def test_a_rebuild_is_running_while_it_holds_its_lock(database_url: str) -> None:
    create_read_tables(database_url, [USERS])
    lock = "SELECT pg_advisory_lock(hashtext('huajuan rebuild ' || %s))"
    async with opened(database_url) as store:
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute(lock.encode(), ("likes_v1",))
            assert not (await users_status(store)).rebuilding
            connection.execute(lock.encode(), ("users_v1",))
            assert (await users_status(store)).rebuilding

        async def ended() -> bool:
            return not (await users_status(store)).rebuilding

        await until(ended)  # a server takes a moment to see that its client is gone


async def test_who_serves_is_known_for_as_long_as_it_does(database_url: str) -> None:
    async with opened(database_url) as store:
        assert await serving(tables_of(store)) == []
        async with projecting(database_url, (USERS,)) as (_, projector):
            assert projector.is_alive()

            async def is_known() -> bool:
                return await serving(tables_of(store)) == [own_name()]

            await until(is_known)
