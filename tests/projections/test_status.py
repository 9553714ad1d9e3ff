"""The status of the read tables: lag, rate, leader, stops and rebuilds."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from huajuan.event_store.store import EventStore, open_event_store
from huajuan.event_store.writer import EventStoreLimits
from huajuan.postgres.connect import open_pool
from huajuan.postgres.statements import Statements
from huajuan.projections.engine.checkpoints import checkpoint_lags, process_name
from huajuan.projections.engine.status import ProjectionStatus, projection_statuses, serving_processes
from huajuan.projections.engine.table import ReadTables
from huajuan.projections.likes import LIKES
from huajuan.projections.rebuild.schemas import create_read_tables
from huajuan.projections.users import USERS
from tests.event_store.helpers import opened, register
from tests.projections.gallery import SECONDS_MAX, failing_projection, projecting
from tests.services import until

HOUR = timedelta(hours=1)


def tables_of(store: EventStore) -> ReadTables:
    return ReadTables(Statements(store._pool, SECONDS_MAX))


async def users_status(store: EventStore) -> ProjectionStatus:
    (status,) = await projection_statuses(tables_of(store), store.stream_ids, [USERS])
    return status


def change(dsn: str, statement: str, *values: Any) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(statement.encode(), values)


@asynccontextmanager
async def at(dsn: str, moment: datetime) -> AsyncIterator[EventStore]:
    """A store with a fixed time."""
    async with (
        open_pool(dsn, 2) as pool,
        open_event_store(dsn, pool, lambda: moment, EventStoreLimits()) as store,
    ):
        yield store


@pytest.mark.parametrize(
    ("silent", "waited", "lags"),
    [(HOUR, timedelta(), False), (timedelta(), HOUR, False), (HOUR, HOUR, True)],
    ids=["an event after a silence", "old events while it moves", "neither"],
)
async def test_lag_is_the_time_without_progress_while_events_wait(
    database_url: str, silent: timedelta, waited: timedelta, lags: bool
) -> None:
    create_read_tables(database_url, [USERS])
    now = datetime.now(UTC)
    async with at(database_url, now - waited) as store:
        await register(store, "ann")
        change(database_url, "UPDATE operations.checkpoints SET moved_at = %s", now - silent)
        (lag,) = await checkpoint_lags(tables_of(store), [USERS])
        status = await users_status(store)
    assert (lag.lag_events, status.lag_events) == (1, 1)
    assert [found.lag_seconds > HOUR.total_seconds() / 2 for found in (lag, status)] == [lags, lags]


async def test_the_status_has_leader_and_rate(database_url: str) -> None:
    async with projecting(database_url, (USERS,)) as (store, projector):
        for n in range(20):
            await register(store, f"p{n}")
        assert await projector.wait_for_position(20, USERS, seconds_max=SECONDS_MAX)
        status = await users_status(store)
    assert (status.name, status.version, status.position, status.lag_events) == (
        "users",
        USERS.version,
        20,
        0,
    )
    assert status.leader == process_name()
    # Twenty events at once, averaged over ten seconds.
    assert 0 < status.events_per_second <= 2
    assert (status.stopped_at, status.rebuilding, status.last_rebuild) == (None, False, None)


async def test_the_rate_fades_without_events(database_url: str) -> None:
    async with projecting(database_url, (USERS,)) as (store, projector):
        await register(store, "ann")
        assert await projector.wait_for_position(1, USERS, seconds_max=SECONDS_MAX)
        # In a thread, because the runner on this loop may have locked the row.
        aged = "UPDATE operations.checkpoints SET moved_at = now() - interval '90 days'"
        await asyncio.to_thread(change, database_url, aged)
        assert (await users_status(store)).events_per_second < 1e-9
        await register(store, "ben")
        assert await projector.wait_for_position(2, USERS, seconds_max=SECONDS_MAX)
        assert (await users_status(store)).events_per_second > 0


async def test_a_stopped_projection_has_topic_and_exception(database_url: str) -> None:
    bad = failing_projection(lambda _: True)
    async with projecting(database_url, (bad,)) as (store, projector):
        await register(store, "ann")
        await until(lambda: projector.positions.is_stopped("failing_v1"))
        (status,) = await projection_statuses(tables_of(store), store.stream_ids, [bad])
    assert (status.stopped_at, status.stopped_by) == (1, "ZeroDivisionError")
    assert (status.stopped_event, status.leader) == ("account.registered", process_name())


async def test_the_status_has_the_last_rebuild_of_each_table(database_url: str) -> None:
    create_read_tables(database_url, [USERS])
    async with opened(database_url) as store:
        assert (await users_status(store)).last_rebuild is None
        insert = (
            "INSERT INTO operations.rebuilds (projections, started_at, ended_at, position, head, "
            "events_per_second, outcome) VALUES (%s, %s, %s, 5, 10, 2.5, %s)"
        )
        first, then = datetime(2026, 11, 23, tzinfo=UTC), datetime(2026, 11, 24, tzinfo=UTC)
        change(database_url, insert, [USERS.schema], then, None, None)
        change(database_url, insert, [USERS.schema, LIKES.schema], first, first, "swapped")
        change(database_url, insert, [LIKES.schema], then + HOUR, None, None)
        last = (await users_status(store)).last_rebuild
    assert last
    assert (last.started_at, last.ended_at, last.outcome) == (then, None, None)
    assert (last.position, last.head, last.events_per_second) == (5, 10, 2.5)


async def test_a_rebuild_is_running_while_it_holds_its_lock(database_url: str) -> None:
    create_read_tables(database_url, [USERS])
    lock = "SELECT pg_advisory_lock(hashtext('huajuan rebuild ' || %s))"
    async with opened(database_url) as store:
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute(lock.encode(), (LIKES.schema,))
            assert not (await users_status(store)).rebuilding
            connection.execute(lock.encode(), (USERS.schema,))
            assert (await users_status(store)).rebuilding

        async def ended() -> bool:
            return not (await users_status(store)).rebuilding

        await until(ended)  # Postgres takes a moment to notice that its client is gone


async def test_a_process_is_listed_while_it_serves(database_url: str) -> None:
    async with opened(database_url) as store:
        assert await serving_processes(tables_of(store)) == []
        async with projecting(database_url, (USERS,)) as (_, projector):
            assert projector.is_alive()

            async def is_listed() -> bool:
                return await serving_processes(tables_of(store)) == [process_name()]

            await until(is_listed)
