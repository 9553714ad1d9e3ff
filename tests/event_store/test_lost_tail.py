"""The database has lost its newest events, and a process has them cached: decisions use the stored state."""

import asyncio
from collections.abc import Iterable
from typing import Any
from uuid import UUID

import psycopg
import pytest

from huajuan.domain.account import Account
from huajuan.domain.aggregate import AggregateRoot
from huajuan.domain.refusals import AlreadyCheckedIn
from huajuan.event_store.errors import Conflict, StreamBroken
from huajuan.event_store.loader import Snapshots, Stream
from huajuan.event_store.store import EventStore
from huajuan.event_store.writer import EventStoreLimits, Save, Writer
from huajuan.postgres.timelines import Timelines
from tests.event_store.helpers import check_in, hold, log_rows, opened, register
from tests.event_store.log_damage import cut, tear
from tests.event_store.test_append import row


def snapshots(dsn: str) -> list[int]:
    with psycopg.connect(dsn) as connection:
        query = "SELECT originator_version FROM log.huajuan_snapshots ORDER BY 1"
        return [version for (version,) in connection.execute(query).fetchall()]


async def account_with_check_ins(store: EventStore, days: int = 5) -> UUID:
    ann = await register(store, "ann")
    for day in range(days):
        await check_in(store, ann, day)
    return ann


async def assert_as_stored(store: EventStore, dsn: str, account: UUID) -> None:
    async with opened(dsn) as fresh:
        assert await store.find(Account, account) == await fresh.find(Account, account)


async def test_a_cached_state_ahead_of_its_stream_is_not_used(database_url: str) -> None:
    async with opened(database_url) as store:
        ann = await account_with_check_ins(store)
        cut(database_url, 3)
        await assert_as_stored(store, database_url, ann)
        await check_in(store, ann, 4)  # done before, and lost
        assert [version for _, _, version in log_rows(database_url)] == [1, 2, 3, 4]


async def test_a_decision_on_a_lost_state_is_repeated(database_url: str) -> None:
    async with opened(database_url) as store:
        ann = await account_with_check_ins(store)
        cut(database_url, 3)
        saved = await hold(store, ann)  # optimistic: the cached state accepts
        assert (saved.position, saved.aggregates[0].version) == (4, 4)
        await assert_as_stored(store, database_url, ann)


async def test_a_cached_state_of_another_history_is_dropped(database_url: str) -> None:
    """Another process has appended other events in place of the lost ones."""
    async with opened(database_url) as store:
        ann = await account_with_check_ins(store)
        cut(database_url, 3)
        async with opened(database_url) as other:
            for _ in range(4):
                await hold(other, ann, 1)
        await assert_as_stored(store, database_url, ann)
        assert (await check_in(store, ann, 4)).position == 8


async def test_a_refusal_does_not_depend_on_lost_events(database_url: str) -> None:
    async with opened(database_url) as store:
        ann = await account_with_check_ins(store)
        with pytest.raises(AlreadyCheckedIn):
            await check_in(store, ann, 4)
        cut(database_url, 3)
        await check_in(store, ann, 4)


async def test_a_queued_snapshot_is_not_written_ahead_of_its_stream(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, go = Snapshots.write_waiting, asyncio.Event()

    async def later(self: Snapshots) -> None:
        await go.wait()
        await write(self)

    monkeypatch.setattr(Snapshots, "write_waiting", later)
    async with opened(database_url, snapshot_every_events=6) as store:
        ann = await account_with_check_ins(store)
        cut(database_url, 3)
        async with opened(database_url, snapshot_every_events=100) as other:
            for _ in range(4):  # even when the stream has that version again
                await hold(other, ann, 1)
        go.set()
        await write(store._snapshots)
    assert snapshots(database_url) == []


async def test_a_snapshot_ahead_of_its_stream_is_deleted(database_url: str) -> None:
    async with opened(database_url, snapshot_every_events=6) as store:
        ann = await account_with_check_ins(store)
        await store._snapshots.write_waiting()
        assert snapshots(database_url) == [6]
    cut(database_url, 3)
    async with opened(database_url, snapshot_every_events=4) as store:
        account = await store.find(Account, ann)
        assert account
        assert (account.version, account.balance) == (3, 200)
        await check_in(store, ann, 7)
        await store._snapshots.write_waiting()
        assert snapshots(database_url) == [4]


async def test_a_snapshot_of_another_history_is_replaced(database_url: str) -> None:
    async with opened(database_url, snapshot_every_events=6) as store:
        ann = await account_with_check_ins(store)
        await store._snapshots.write_waiting()
    cut(database_url, 3)
    async with opened(database_url, snapshot_every_events=6) as store:
        for _ in range(3):
            await hold(store, ann, 1)
        await store._snapshots.write_waiting()
    async with opened(database_url) as fresh:
        account = await fresh.find(Account, ann)
        assert account
        assert (account.version, account.balance, len(account.held)) == (6, 197, 3)


async def test_a_stream_with_a_gap_is_reported(database_url: str) -> None:
    async with opened(database_url) as store:
        ann, ben = await account_with_check_ins(store), await register(store, "ben")
    tear(database_url, ann, (3, 4))
    async with opened(database_url) as store:
        with pytest.raises(StreamBroken):
            await store.find(Account, ann)
        with pytest.raises(StreamBroken):
            await check_in(store, ann, 9)
        await check_in(store, ben)


class Switch(Timelines):
    """The test simulates a failover with `switch`."""

    def switch(self) -> None:
        self._change(None, None)  # type: ignore[arg-type]


class CutOff(Writer):
    """A failover happens during the append. `lands`: whether the new primary has the batch."""

    lands = False

    async def _send(self, batch: list[Save]) -> tuple[int, set[int]]:
        timelines = self._timelines
        if isinstance(timelines, Switch) and timelines.generation == 0:
            if self.lands:
                await super()._send(batch)
            timelines.switch()
        return await super()._send(batch)


@pytest.mark.parametrize("lands", [False, True])
async def test_an_append_during_a_failover_is_checked_and_not_repeated(
    database_url: str, *, lands: bool
) -> None:
    writer = CutOff(database_url, EventStoreLimits(), timelines=Switch())
    writer.lands = lands
    await writer.open()
    results = await asyncio.gather(*(writer.append([row()]) for _ in range(3)), return_exceptions=True)
    assert await writer.append([row()]) == [len(log_rows(database_url))]
    await writer.close()
    assert [type(result) for result in results] == [list if lands else Conflict] * 3
    assert len(log_rows(database_url)) == (4 if lands else 1)


async def test_a_decision_before_a_failover_is_repeated(database_url: str) -> None:
    timelines = Switch()
    writer = Writer(database_url, EventStoreLimits(), timelines=timelines)
    await writer.open()
    before = timelines.generation
    timelines.switch()
    with pytest.raises(Conflict):
        await writer.append([row()], before)
    assert await writer.append([row()], timelines.generation) == [1]
    await writer.close()


async def test_a_failover_clears_the_cache(database_url: str) -> None:
    async with opened(database_url, snapshot_every_events=3) as store:
        ann = await account_with_check_ins(store)
        states: list[Any] = []

        def decide(account: Account | None) -> Iterable[AggregateRoot]:
            states.append(account)
            if len(states) == 1:
                Switch.switch(store._timelines)  # type: ignore[arg-type]
            assert account
            account.hold(UUID(int=len(states)), 1)
            return [account]

        await store.change(decide, Stream(Account, ann))
        assert len(states) == 2
        assert states[0] is not states[1]
        assert len(log_rows(database_url)) == 7
