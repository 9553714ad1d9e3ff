"""The time of new events is not before the newest known event."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import structlog
from structlog.testing import capture_logs

from huajuan.domain.account import Account
from huajuan.event_store.event_clock import WARN_EVERY_SECONDS, EventClock
from huajuan.event_store.loader import Stream
from huajuan.event_store.store import EventStore, open_event_store
from huajuan.event_store.writer import EventStoreLimits
from huajuan.postgres.pool import open_pool
from tests.event_store.helpers import POOL_CONNECTIONS_MAX, check_in, opened, register
from tests.services import until

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
HOUR, SECOND = timedelta(hours=1), timedelta(seconds=1)
YEAR = timedelta(days=400)


class Hands:
    """A clock that the test sets."""

    def __init__(self, now: datetime = NOON) -> None:
        self.now = now
        self.seconds = 1000.0

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture
def facts(hands: Hands) -> EventClock:
    return EventClock(3600, hands, lambda: hands.seconds)


def test_a_correct_clock_is_used(facts: EventClock, hands: Hands) -> None:
    for _ in range(3):
        assert facts.next_timestamp() == hands.now
        hands.now += SECOND


@pytest.mark.parametrize("back", [timedelta(milliseconds=5), HOUR - SECOND, HOUR])
def test_the_time_does_not_go_back_within_the_bound(facts: EventClock, hands: Hands, back: timedelta) -> None:
    newest = facts.next_timestamp()
    hands.now -= back
    assert facts.next_timestamp() == newest
    hands.now += back + SECOND
    assert facts.next_timestamp() == newest + SECOND


def test_an_event_of_another_process_is_not_preceded(facts: EventClock, hands: Hands) -> None:
    facts.observe([NOON + HOUR / 2, NOON])
    assert facts.next_timestamp() == NOON + HOUR / 2
    assert facts.behind_seconds() == 1800


def test_beyond_the_bound_the_clock_is_used_with_a_warning_a_minute(
    facts: EventClock, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    # `capture_logs` has no effect on a logger that was used before.
    monkeypatch.setattr("huajuan.event_store.event_clock._logger", structlog.get_logger())
    facts.observe([NOON + YEAR])
    with capture_logs() as logs:
        assert [facts.next_timestamp() for _ in range(3)] == [NOON] * 3
        hands.seconds += WARN_EVERY_SECONDS
        facts.next_timestamp()
    assert [(entry["behind_seconds"], entry["events"]) for entry in logs] == [
        (YEAR.total_seconds(), 1),
        (YEAR.total_seconds(), 3),
    ]
    assert facts.behind_seconds() == YEAR.total_seconds()


def test_a_jump_ahead_has_no_lasting_effect(facts: EventClock, hands: Hands) -> None:
    hands.now += YEAR
    facts.observe([facts.next_timestamp()])
    hands.now = NOON
    assert facts.next_timestamp() == NOON
    hands.now -= HOUR / 2
    assert facts.next_timestamp() == NOON, "the time before the jump is not preceded"


def test_an_event_far_ahead_does_not_hide_a_near_one(facts: EventClock) -> None:
    facts.observe([NOON + YEAR, NOON + SECOND, NOON - SECOND])
    assert facts.next_timestamp() == NOON + SECOND


def test_with_a_bound_of_zero_the_clock_is_always_used(hands: Hands) -> None:
    facts = EventClock(0, hands)
    facts.observe([NOON + SECOND])
    assert facts.next_timestamp() == NOON


async def registered_at(store: EventStore, name: str) -> datetime:
    await register(store, name)
    account = await store.find(Account, store.stream_ids.account(name))
    assert account
    return account.created_on


async def assert_observes(dsn: str, observe: Callable[[EventStore], object]) -> None:
    """The events of a store whose clock is late are not before those that another store appended."""
    hands = Hands()
    async with (
        open_pool(dsn, POOL_CONNECTIONS_MAX) as pool,
        opened(dsn) as ahead,
        open_event_store(dsn, pool, hands, EventStoreLimits()) as behind,
    ):
        newest = await registered_at(ahead, "ann")
        hands.now = newest - HOUR / 2
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
        open_event_store(database_url, pool, Hands(newest - HOUR / 2)) as behind,
    ):
        assert await registered_at(behind, "ben") == newest


async def test_a_check_in_400_days_ahead_has_no_other_effect(database_url: str) -> None:
    hands = Hands()
    async with (
        open_pool(database_url, POOL_CONNECTIONS_MAX) as pool,
        open_event_store(database_url, pool, hands) as store,
    ):
        ann = await register(store, "ann")
        hands.now += YEAR
        await check_in(store, ann)
        hands.now = NOON + SECOND
        assert await registered_at(store, "ben") == NOON + SECOND
        assert store.event_clock.behind_seconds() == pytest.approx(YEAR.total_seconds() - 1)
        assert (await store.change(lambda a: [a] if a else [], Stream(Account, ann))).position == 0
