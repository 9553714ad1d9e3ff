"""Appends: positions, conflicts within a batch, bounds, cancelled callers."""

import asyncio
from uuid import UUID, uuid4

import pytest
from eventsourcing.persistence import StoredEvent

from huajuan.domain.account import Account
from huajuan.domain.aggregate import AggregateRoot
from huajuan.domain.refusals import AlreadyCheckedIn, NotEnoughPoints
from huajuan.event_store.errors import Conflict, DatabaseBusy, DatabaseFailure, PersonErased
from huajuan.event_store.loader import Stream
from huajuan.event_store.store import EventStore
from huajuan.event_store.writer import EventStoreLimits, Writer
from tests.event_store.helpers import check_in, hold, is_whole, log_rows, opened, register


def row(stream: UUID | None = None, version: int = 1, state: bytes = b"{}", topic: str = "t") -> StoredEvent:
    return StoredEvent(stream or uuid4(), version, topic, state)


async def test_every_append_returns_the_log_position_after_it(database_url: str) -> None:
    async with opened(database_url) as store:
        ann = await register(store, "ann")
        first = await check_in(store, ann)
        second = await hold(store, ann)
        assert (first.position, second.position) == (2, 3)
        assert second.aggregates[0].balance == 80


async def test_listeners_get_the_position_of_the_log(database_url: str) -> None:
    async with opened(database_url) as store:
        positions: list[int] = []
        store.on_appended.append(positions.append)
        ann = await register(store, "ann")
        await check_in(store, ann)
        assert positions == [1, 2]


async def test_of_two_conflicting_saves_in_a_batch_one_is_rejected(
    database_url: str,
) -> None:
    writer = Writer(database_url, EventStoreLimits(), lambda _: None)
    await writer.open()
    hot, taken = uuid4(), uuid4()
    await writer.append([row(taken)])
    saves = [
        [row()], [row(hot), row(hot, 2)], [row()], [row(hot)], [row(), row(taken)], [row(), row()],
    ]  # fmt: skip
    results = await asyncio.gather(*map(writer.append, saves), return_exceptions=True)
    await writer.close()
    kinds = [type(r) for r in results]
    assert kinds == [list, list, list, Conflict, Conflict, list]
    positions = [p for r in results if isinstance(r, list) for p in r]
    assert positions == [2, 3, 4, 5, 6, 7]
    assert [r[0] for r in log_rows(database_url)] == [1, 2, 3, 4, 5, 6, 7]
    assert is_whole(database_url)


async def test_a_save_that_postgres_rejects_fails_alone(database_url: str) -> None:
    writer = Writer(database_url, EventStoreLimits(), lambda _: None)
    await writer.open()
    saves = [[row()], [row(topic="nul\0")], [row()]]
    results = await asyncio.gather(*map(writer.append, saves), return_exceptions=True)
    await writer.close()
    assert [type(r) for r in results] == [list, DatabaseFailure, list]
    assert len(log_rows(database_url)) == 2


async def test_a_full_queue_rejects_at_once(database_url: str) -> None:
    writer = Writer(database_url, EventStoreLimits(queue_saves_max=3), lambda _: None)
    await writer.open()
    results = await asyncio.gather(*(writer.append([row()]) for _ in range(5)), return_exceptions=True)
    await writer.close()
    assert [type(r) for r in results] == [list, list, list, DatabaseBusy, DatabaseBusy]
    with pytest.raises(DatabaseBusy):
        await writer.append([row()])


async def test_closing_appends_the_waiting_saves(database_url: str) -> None:
    writer = Writer(database_url, EventStoreLimits(batch_saves_max=2), lambda _: None)
    await writer.open()
    waiting = [asyncio.ensure_future(writer.append([row()])) for _ in range(7)]
    await asyncio.sleep(0)
    await writer.close()
    assert [p for positions in await asyncio.gather(*waiting) for p in positions] == [1, 2, 3, 4, 5, 6, 7]


async def test_a_refusal_is_decided_on_the_newest_state(database_url: str) -> None:
    async with opened(database_url) as here, opened(database_url) as there:
        ann = await register(here, "ann")
        await check_in(there, ann)
        await hold(here, ann)  # cached here without points, which there were paid


async def test_a_decision_on_an_outdated_state_is_repeated(database_url: str) -> None:
    async with opened(database_url) as here, opened(database_url) as there:
        ann = await register(here, "ann")
        await check_in(here, ann)
        await hold(there, ann, 90)
        with pytest.raises(NotEnoughPoints):
            await hold(here, ann)
        assert (await here.find(Account, ann)) == (await there.find(Account, ann))


async def test_a_decision_without_events_is_made_on_the_newest_state(database_url: str) -> None:
    async with opened(database_url) as here, opened(database_url) as there:
        ann = await register(here, "ann")

        async def change_email(store: EventStore, email: str) -> None:
            def decide(account: Account | None) -> list[AggregateRoot]:
                assert account
                account.change_email(email)
                return [account]

            await store.change(decide, Stream(Account, ann))

        await change_email(there, "new@example.org")
        await change_email(here, "ann@example.org")  # nothing new on the cached state
        assert len(log_rows(database_url)) == 3


async def test_a_cancelled_caller_leaves_no_wrong_cached_state(database_url: str) -> None:
    async with opened(database_url) as store:
        ann = await register(store, "ann")
        await check_in(store, ann)
        leaving = asyncio.create_task(hold(store, ann))
        for _ in range(3):
            await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        await hold(store, ann, 10)
        async with opened(database_url) as other:
            assert (await store.find(Account, ann)) == (await other.find(Account, ann))


async def test_concurrent_holds_do_not_overdraw(database_url: str) -> None:
    async with opened(database_url) as store:
        ann = await register(store, "ann")
        await check_in(store, ann)
        results = await asyncio.gather(*(hold(store, ann) for _ in range(20)), return_exceptions=True)
        refused = [r for r in results if isinstance(r, NotEnoughPoints)]
        assert (len(results) - len(refused), len(refused)) == (5, 15)


async def test_concurrent_check_ins_count_once(database_url: str) -> None:
    async with opened(database_url) as here, opened(database_url) as there:
        ann = await register(here, "ann")
        visits = [check_in(store, ann) for _ in range(10) for store in (here, there)]
        results = await asyncio.gather(*visits, return_exceptions=True)
        assert sum(isinstance(r, AlreadyCheckedIn) for r in results) == 19
        account = await here.find(Account, ann)
        assert account
        assert account.balance == 100


async def test_no_personal_data_is_written_for_an_account_without_a_key(database_url: str) -> None:
    async with opened(database_url) as store:
        nobody = uuid4()
        with pytest.raises(PersonErased):
            await store.change(
                lambda _: [Account.register(nobody, "x", "x@y.zz", "h")], Stream(Account, nobody)
            )
    assert log_rows(database_url) == []


async def test_the_wait_for_a_locked_account_is_bounded(database_url: str) -> None:
    async with opened(database_url, lock_seconds_max=0.05) as store:
        ann = await register(store, "ann")
        async with store._cache.exclusive([ann]):
            with pytest.raises(DatabaseBusy):
                await check_in(store, ann)
