"""An error after a commit does not make the command fail."""

import asyncio
from typing import Any
from uuid import UUID

import pytest

from huajuan.domain.account import Account
from huajuan.domain.aggregate import EventMetadata, with_event_metadata
from huajuan.event_store.errors import Unstorable
from huajuan.event_store.personal_keys import KeyRing
from huajuan.event_store.store import EventStore
from tests.event_store.helpers import check_in, is_whole, log_rows, opened, register
from tests.event_store.test_loading import versions_of_snapshots

VISITS = 105


async def visits(store: EventStore, *accounts: UUID) -> None:
    for day in range(VISITS):
        for account in accounts:
            await check_in(store, account, day)


async def test_two_accounts_alternate_with_a_cache_of_one_key(database_url: str) -> None:
    async with opened(database_url, keys_cached_max=1) as store:
        accounts = [await register(store, name) for name in ("ann", "ben")]
        await visits(store, *accounts)
        found = [await store.find(Account, account) for account in accounts]
        assert [account and account.balance for account in found] == [100 * VISITS] * 2
    assert is_whole(database_url)


async def test_a_missing_key_only_prevents_the_snapshot(database_url: str) -> None:
    async with opened(database_url, snapshot_every_events=5) as store:
        ann = await register(store, "ann")
        for day in range(3):
            await check_in(store, ann, day)
        store.keys.clear()
        assert (await check_in(store, ann, 3)).position == 5
        await store._snapshots.write_waiting()
        assert versions_of_snapshots(database_url) == []
        await store.keys.load([ann])
        for day in range(4, 9):
            await check_in(store, ann, day)
        await store._snapshots.write_waiting()
    assert versions_of_snapshots(database_url) == [10]


async def test_more_keys_than_the_cache_holds_are_loaded_at_once(database_url: str) -> None:
    async with opened(database_url) as store:
        people = [await register(store, f"person{n}") for n in range(5)]
        late = await register(store, "late")
        ring = KeyRing(store._statements, 2)

        async def need() -> bool:
            await ring.load(people)
            return all(ring[person] for person in people)

        assert all(await asyncio.gather(*(need() for _ in range(20))))
        await ring.load([late])
        assert len(ring._keys) == 2


@pytest.mark.parametrize("step", ["_cache.put", "_snapshots.after_append", "event_clock.observe", "listener"])
async def test_a_failure_after_the_commit_is_not_reported(
    database_url: str, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError(step)

    async with opened(database_url) as store:
        ann = await register(store, "ann")
        part, _, name = step.partition(".")
        if name:
            monkeypatch.setattr(getattr(store, part), name, fail)
        else:
            store.on_appended.append(fail)
        decided = [await check_in(store, ann, day) for day in range(3)]
        monkeypatch.undo()
        assert [d.position for d in decided] == [2, 3, 4]
        assert (await check_in(store, ann, 3)).aggregates[0].balance == 400
    assert len(log_rows(database_url)) == 5
    assert is_whole(database_url)


async def test_a_failing_listener_does_not_stop_the_next_one(database_url: str) -> None:
    positions: list[int] = []

    def fail(_: int) -> None:
        raise RuntimeError

    async with opened(database_url) as store:
        store.on_appended += [fail, positions.append]
        await register(store, "ann")
    assert positions == [1]


@pytest.mark.parametrize(("field", "value"), [("balance", 2**63), ("points", -(2**64)), ("reason", "a\0b")])
async def test_an_event_that_no_read_table_can_hold_is_not_appended(
    database_url: str, field: str, value: Any
) -> None:
    async with opened(database_url) as store:
        ann = await register(store, "ann")
        fields = {"points": 1, "balance": 1, "reason": "sorry"} | {field: value}
        with with_event_metadata(EventMetadata(store.clock())):
            event = Account.PointsGranted(
                originator_id=ann, originator_version=2, timestamp=store.clock(), **fields
            )
        with pytest.raises(Unstorable):
            store.mapper.to_stored_event(event)


async def test_a_failing_snapshot_fails_no_load(database_url: str) -> None:
    async with (
        opened(database_url, snapshot_after_events_read=1) as here,
        opened(database_url) as there,
    ):
        ann = await register(here, "ann")
        await check_in(there, ann)
        here.keys.clear()
        found = await here.find(Account, ann)
        assert found
        assert found.balance == 100
