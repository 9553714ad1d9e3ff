"""The tenancy: whoever has it may be sure that nobody else changes the tables, and what was seen before a gap is void."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest
import pytest_asyncio

from huajuan.postgres.pool import open_pool
from huajuan.postgres.statements import Statements
from huajuan.projections.registry import PROJECTIONS, SCHEMAS
from huajuan.projections.users import USERS
from huajuan.response_cache.lease import Tenancy
from huajuan.response_cache.lease_for_swap import allow_tenancies, end_tenancies, is_free
from huajuan.response_cache.versions import SLOTS, Changes, make_changes_file, own_changes, shared_changes
from tests.event_store.studio import opened, register
from tests.projections.gallery import SECONDS_MAX, projecting
from tests.services import until

SECONDS = 0.5


@pytest_asyncio.fixture
async def statements(database_url: str) -> AsyncIterator[Statements]:
    async with opened(database_url), open_pool(database_url, 2) as pool:
        yield Statements(pool, SECONDS_MAX)


def changes() -> Changes:
    return own_changes(["a_v1", "b_v1"])


def of(one: Changes) -> tuple[int, ...] | None:
    return one.seen([one.at("a_v1")])


async def taken(statements: Statements, of_server: Changes, seconds: float = SECONDS) -> bool:
    before = of_server.left_seconds
    await Tenancy(statements, of_server, seconds)._take()
    return of_server.left_seconds > before


def tenant() -> Changes:
    one = changes()
    one.tenancy(1, 2**63)
    return one


def test_what_changes_is_not_seen_until_it_is_changed() -> None:
    one, account = tenant(), uuid4()
    places = [one.at("a_v1", account), one.at("b_v1")]
    before = one.seen(places)
    assert before is not None
    assert one.seen(places) == before
    changing = one.begin({"a_v1": {account}})
    assert one.seen(places) is None
    one.end(changing)
    after = one.seen(places)
    assert after not in (None, before)


def test_only_those_who_are_touched_notice() -> None:
    one, ann, ben = tenant(), UUID(int=1), UUID(int=2)
    beside = {
        place: one.seen([place]) for place in (one.at("a_v1", ben), one.at("b_v1"), one.at("b_v1", ann))
    }
    whole = one.seen([one.at("a_v1")])
    one.end(one.begin({"a_v1": {ann}}))
    assert beside == {place: one.seen([place]) for place in beside}
    assert one.seen([one.at("a_v1")]) != whole
    shared = UUID(int=1 + SLOTS)
    assert one.at("a_v1", ann) == one.at("a_v1", shared), "accounts share counters where they must"


def test_who_dies_in_between_leaves_it_unseen_until_the_next_change() -> None:
    one, account = tenant(), uuid4()
    one.begin({"a_v1": {account}})
    one.end(one.begin({"a_v1": {uuid4()}}))
    assert one.seen([one.at("a_v1", account)]) is None
    one.end(one.begin({"a_v1": {account}}))
    assert one.seen([one.at("a_v1", account)]) is not None


def test_workers_share_what_they_see(tmp_path: Path) -> None:
    file = make_changes_file(tmp_path, ["a_v1", "b_v1"])
    one, other = (shared_changes(file, ["a_v1", "b_v1"]) for _ in range(2))
    assert one.tag == other.tag != changes().tag
    one.tenancy(1, 2**63)
    before = of(other)
    one.end(one.begin({"a_v1": set()}))
    assert None not in (before, of(other))
    assert of(other) == of(one) != before


async def test_one_server_at_a_time_has_it_and_after_a_gap_all_is_void(statements: Statements) -> None:
    one, other = changes(), changes()
    assert of(one) is None
    assert await taken(statements, one)
    first = of(one)
    assert await taken(statements, one)
    assert of(one) == first, "without a gap what was seen still counts"
    assert not await taken(statements, other)
    await asyncio.sleep(SECONDS * 1.2)
    assert of(one) is None
    assert await taken(statements, other)
    assert not await taken(statements, one)
    await asyncio.sleep(SECONDS * 1.2)
    assert await taken(statements, one)
    assert of(one) not in (None, first)


async def test_beside_another_server_nobody_has_it(database_url: str) -> None:
    async with projecting(database_url, ()) as (_, here), open_pool(database_url, 2) as pool:
        statements = Statements(pool, SECONDS_MAX)

        async def has_it() -> bool:
            return await taken(statements, here.changes)

        await until(has_it)
        async with projecting(database_url, ()) as (_, there):
            await asyncio.sleep(SECONDS * 1.2)
            await until(lambda: serving(database_url) == 2)
            assert not await taken(statements, here.changes)
            assert not await taken(statements, there.changes)
        await until(has_it)


def serving(dsn: str) -> int:
    with psycopg.connect(dsn) as connection:
        query = (
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name LIKE 'huajuan serves %'"
        )
        return connection.execute(query).fetchall()[0][0]  # type: ignore[no-any-return]


async def test_nobody_folds_beside_a_tenant(database_url: str) -> None:
    """A server that came just now waits until the tenancy of the other has ended."""
    tenant_elsewhere = changes()
    async with projecting(database_url, (USERS,), poll_seconds=0.1) as (store, projector):
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute(
                "UPDATE operations.tenancy SET tag = %s, until = clock_timestamp() + interval '1 second'",
                (tenant_elsewhere.tag,),
            )
        await register(store, "ann")
        assert not await projector.reach(1, USERS, seconds_max=0.5)
        assert await projector.reach(1, USERS, seconds_max=SECONDS_MAX)


async def test_a_rebuild_waits_for_the_tenant_and_keeps_others_from_it(
    statements: Statements, database_url: str
) -> None:
    one = changes()
    assert await taken(statements, one)
    async with other_session(database_url) as connection:
        assert not is_free(connection)
        connection.rollback()
        await asyncio.to_thread(end_tenancies, connection)
        connection.commit()
        assert of(one) is None
        assert not await taken(statements, one)
        assert is_free(connection)
        allow_tenancies(connection)
        assert not await taken(statements, one), "not before the swap has ended"
        connection.commit()
        assert await taken(statements, one)


@asynccontextmanager
async def other_session(dsn: str) -> AsyncIterator[psycopg.Connection]:
    with psycopg.connect(dsn) as connection:
        yield connection


def test_each_projection_has_counters_and_its_tables_names_are_its_own() -> None:
    """They are found on one search path."""
    assert tuple(p.schema for p in PROJECTIONS) == SCHEMAS
    names = [projection.table.name for projection in PROJECTIONS]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("account", [None, uuid4()])
def test_every_place_is_within_the_memory(account: UUID | None) -> None:
    one = own_changes(SCHEMAS)
    for schema in SCHEMAS:
        assert one.seen([one.at(schema, account)]) is None


def test_an_end_that_comes_late_ends_nobody_elses_change() -> None:
    """The checkpoint is free from the commit on, so another may have begun by then; and be killed."""
    one, account = tenant(), uuid4()
    place = one.at("a_v1", account)
    first = one.begin({"a_v1": {account}})
    second = one.begin({"a_v1": {account}})
    one.end(first)
    assert one.seen([place]) is None
    one.end(one.begin({"a_v1": {account}}))
    after = one.seen([place])
    assert after is not None
    one.end(second)
    assert one.seen([place]) == after
