"""The time of new events is not before the newest known event."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from huajuan.domain.account import Account
from huajuan.event_store.event_clock import EventClock
from huajuan.event_store.loader import Stream
from huajuan.event_store.store import EventStore, open_event_store
from huajuan.event_store.writer import EventStoreLimits
from huajuan.postgres.connect import open_pool
from huajuan.runtime.logs import configure_logs
from tests.event_store.helpers import POOL_CONNECTIONS_MAX, check_in, opened, register
from tests.runtime.test_logs import logs_put_back
from tests.services import until

__all__ = ["logs_put_back"]

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
HOUR, SECOND = timedelta(hours=1), timedelta(seconds=1)
YEAR = timedelta(days=400)


class SetClock:
    """A clock that the test sets."""

    def __init__(self, now: datetime = NOON) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def event_clock(clock: SetClock) -> EventClock:
    return EventClock(3600, clock)


def test_a_correct_clock_is_used(event_clock: EventClock, clock: SetClock) -> None:
    for _ in range(3):
        assert event_clock.next_timestamp() == clock.now
        clock.now += SECOND


@pytest.mark.parametrize("back", [timedelta(milliseconds=5), HOUR - SECOND, HOUR])
def test_the_time_does_not_go_back_within_the_bound(
    event_clock: EventClock, clock: SetClock, back: timedelta
) -> None:
    newest = event_clock.next_timestamp()
    clock.now -= back
    assert event_clock.next_timestamp() == newest
    clock.now += back + SECOND
    assert event_clock.next_timestamp() == newest + SECOND


def test_an_event_of_another_process_is_not_preceded(event_clock: EventClock, clock: SetClock) -> None:
    event_clock.observe([NOON + HOUR / 2, NOON])
    assert event_clock.next_timestamp() == NOON + HOUR / 2
    assert event_clock.behind_seconds() == 1800


def test_beyond_the_bound_the_clock_is_used_with_a_warning(
    event_clock: EventClock, clock: SetClock, capsys: pytest.CaptureFixture[str]
) -> None:
    """The log throttle writes it once a minute."""
    configure_logs(readable=False)
    event_clock.observe([NOON + YEAR])
    assert [event_clock.next_timestamp() for _ in range(3)] == [NOON] * 3
    clock.now += SECOND
    assert event_clock.next_timestamp() == clock.now
    (line,) = map(json.loads, capsys.readouterr().err.splitlines())
    assert line["event"].startswith("the clock is behind")
    assert (line["behind_seconds"], line["bound_seconds"]) == (YEAR.total_seconds(), 3600)
    assert event_clock.behind_seconds() == YEAR.total_seconds() - 1


def test_a_jump_ahead_has_no_lasting_effect(event_clock: EventClock, clock: SetClock) -> None:
    clock.now += YEAR
    event_clock.observe([event_clock.next_timestamp()])
    clock.now = NOON
    assert event_clock.next_timestamp() == NOON
    clock.now -= HOUR / 2
    assert event_clock.next_timestamp() == NOON, "the time before the jump is not preceded"


def test_an_event_far_ahead_does_not_hide_a_near_one(event_clock: EventClock) -> None:
    event_clock.observe([NOON + YEAR, NOON + SECOND, NOON - SECOND])
    assert event_clock.next_timestamp() == NOON + SECOND


def test_with_a_bound_of_zero_the_clock_is_always_used(clock: SetClock) -> None:
    event_clock = EventClock(0, clock)
    event_clock.observe([NOON + SECOND])
    assert event_clock.next_timestamp() == NOON


async def registered_at(store: EventStore, name: str) -> datetime:
    await register(store, name)
    account = await store.find(Account, store.stream_ids.account(name))
    assert account
    return account.created_on


async def assert_observes(dsn: str, observe: Callable[[EventStore], object]) -> None:
    """The events of a store whose clock is late are not before those that another store appended."""
    clock = SetClock()
    async with (
        open_pool(dsn, POOL_CONNECTIONS_MAX) as pool,
        opened(dsn) as ahead,
        open_event_store(dsn, pool, clock, EventStoreLimits()) as behind,
    ):
        newest = await registered_at(ahead, "ann")
        clock.now = newest - HOUR / 2
        found = observe(behind)
        if found is not None:
            await found  # type: ignore[misc]
        await until(lambda: behind.event_clock.behind_seconds() > 0)
        assert await registered_at(behind, "ben") >= newest


async def test_the_head_of_the_log_is_read_after_a_foreign_append(database_url: str) -> None:
    await assert_observes(database_url, lambda store: store.head_moved())


async def test_loaded_events_are_observed(database_url: str) -> None:
    await assert_observes(database_url, lambda store: store.find(Account, store.stream_ids.account("ann")))


async def test_the_head_of_the_log_is_read_at_start(database_url: str) -> None:
    async with opened(database_url) as store:
        newest = await registered_at(store, "ann")
    async with (
        open_pool(database_url, POOL_CONNECTIONS_MAX) as pool,
        open_event_store(database_url, pool, SetClock(newest - HOUR / 2)) as behind,
    ):
        assert await registered_at(behind, "ben") == newest


async def test_a_check_in_400_days_ahead_has_no_other_effect(database_url: str) -> None:
    clock = SetClock()
    async with (
        open_pool(database_url, POOL_CONNECTIONS_MAX) as pool,
        open_event_store(database_url, pool, clock) as store,
    ):
        ann = await register(store, "ann")
        clock.now += YEAR
        await check_in(store, ann)
        clock.now = NOON + SECOND
        assert await registered_at(store, "ben") == NOON + SECOND
        assert store.event_clock.behind_seconds() == pytest.approx(YEAR.total_seconds() - 1)
        assert (await store.change(lambda a: [a] if a else [], Stream(Account, ann))).position == 0
