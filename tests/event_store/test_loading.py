"""Loading: the cost does not depend on the length of the history, and the cache is bounded."""

from uuid import uuid4

import psycopg
import pytest
from eventsourcing.persistence import StoredEvent

from huajuan.domain.account import Account
from huajuan.event_store.loader import Stream
from huajuan.event_store.mapper import EventMapper
from huajuan.event_store.stream_ids import StreamIds
from tests.event_store.helpers import check_in, log_rows, opened, register


class CountingMapper(EventMapper):
    decoded = 0

    def to_domain_event(self, stored_event: StoredEvent):  # type: ignore[no-untyped-def]
        type(self).decoded += 1
        return super().to_domain_event(stored_event)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> type[CountingMapper]:
    """Counts the rows that are decoded."""
    CountingMapper.decoded = 0
    monkeypatch.setattr("huajuan.event_store.store.EventMapper", CountingMapper)
    return CountingMapper


def versions_of_snapshots(dsn: str) -> list[int]:
    with psycopg.connect(dsn) as connection:
        query = "SELECT originator_version FROM log.huajuan_snapshots"
        return [version for (version,) in connection.execute(query).fetchall()]


async def test_an_account_of_10_000_events_loads_like_one_of_10(
    database_url: str, decoded: type[CountingMapper]
) -> None:
    def ten_thousand(account: Account | None):  # type: ignore[no-untyped-def]
        assert account
        for _ in range(200):
            account.check_in(account.created_on.date(), once_a_day=False)
        return [account]

    async with opened(database_url) as store:
        ann = await register(store, "ann")
        for _ in range(50):
            await store.change(ten_thousand, Stream(Account, ann))
        await check_in(store, ann, 400 * 365)
        await store._snapshots.write_waiting()
        whole = await store.find(Account, ann)
    decoded.decoded = 0
    async with opened(database_url) as fresh:
        account = await fresh.find(Account, ann)
        assert account == whole
        assert account
        assert (account.version, account.balance) == (10_002, 1_000_100)
    assert decoded.decoded <= 2


async def test_a_long_history_without_a_snapshot_is_read_in_pages_and_gets_one(database_url: str) -> None:
    async with opened(database_url) as store:
        ann = await register(store, "ann")
        for day in range(25):
            await check_in(store, ann, day)
    async with opened(database_url, page_events_max=4, snapshot_after_events_read=26) as paging:
        account = await paging.find(Account, ann)
        assert account
        assert (account.version, account.balance) == (26, 2500)
        await paging._snapshots.write_waiting()
    async with opened(database_url) as other:
        assert await other.find(Account, ann) == account
    assert versions_of_snapshots(database_url) == [26]


async def test_a_short_load_makes_no_snapshot(database_url: str) -> None:
    async with opened(database_url) as store:
        ann = await register(store, "ann")
    async with opened(database_url, snapshot_after_events_read=2) as store:
        assert await store.find(Account, ann)
        await store._snapshots.write_waiting()
    assert versions_of_snapshots(database_url) == []


async def test_only_the_newest_snapshot_of_an_account_is_kept(database_url: str) -> None:
    async with opened(database_url, snapshot_every_events=5) as store:
        ann = await register(store, "ann")
        for day in range(20):
            await check_in(store, ann, day)
            await store._snapshots.write_waiting()
    assert versions_of_snapshots(database_url) == [20]


async def test_a_snapshot_is_encrypted(database_url: str) -> None:
    async with opened(database_url, snapshot_every_events=2) as store:
        ann = await register(store, "ann")
        await check_in(store, ann)
        await store._snapshots.write_waiting()
        async with store._pool.connection() as connection:
            cursor = await connection.execute("SELECT state FROM log.huajuan_snapshots")
            ((state,),) = await cursor.fetchall()
    assert b"ann" not in state
    assert b"balance" not in state


async def test_without_its_key_an_account_loads_without_personal_data(database_url: str) -> None:
    async with opened(database_url, snapshot_every_events=2) as store:
        ann = await register(store, "ann")
        await check_in(store, ann)
        await store._snapshots.write_waiting()
        async with store._pool.connection() as connection:
            await connection.execute("UPDATE operations.personal_keys SET key = NULL")
    async with opened(database_url) as later:
        account = await later.find(Account, ann)
        assert account
        assert (account.username, account.email, account.password_hash) == (None, None, None)
        assert account.balance == 100
        await later.keys.make(ann)  # the tombstone stays
        assert later.keys[ann] is None


async def test_the_cache_drops_the_least_recently_used(database_url: str) -> None:
    async with opened(database_url, aggregates_cached_max=2) as store:
        ids = [await register(store, name) for name in ("ann", "ben", "cid")]
        assert list(store._cache.get(ids)) == ids[1:]
        assert (await store.find(Account, ids[0])) is not None


async def test_a_missing_stream_is_none(database_url: str) -> None:
    async with opened(database_url) as store:
        assert await store.find(Account, uuid4()) is None
    assert log_rows(database_url) == []


async def test_usernames_differ_by_case_but_not_by_normal_form(database_url: str) -> None:
    async with opened(database_url) as store:
        ids = store.stream_ids
        assert ids.account("Ann") != ids.account("ann")
        assert ids.account("e\u0301") == ids.account("\u00e9")
        assert ids.account("a@b.cc") != ids.email_claim("a@b.cc")
        async with opened(database_url) as other:
            assert other.stream_ids.account("Ann") == ids.account("Ann")


def test_another_installation_has_other_ids() -> None:
    assert StreamIds(b"one").account("ann") != StreamIds(b"other").account("ann")
