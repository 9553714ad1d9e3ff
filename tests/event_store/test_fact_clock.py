"""New facts do not fall behind those that are known, whatever the clock does."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import structlog
from structlog.testing import capture_logs

from huajuan.domain.account import Account
from huajuan.event_store.fact_clock import WARN_EVERY_SECONDS, FactClock
from huajuan.event_store.limits import LogLimits
from huajuan.event_store.loader import Stream
from huajuan.event_store.store import EventStore
from huajuan.postgres.pool import open_event_store, open_pool
from tests.event_store.studio import POOL_CONNECTIONS_MAX, check_in, opened, register
from tests.services import until

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
HOUR, SECOND = timedelta(hours=1), timedelta(seconds=1)
YEAR = timedelta(days=400)


class Hands:
    """A clock that is set by hand."""

    def __init__(self, now: datetime = NOON) -> None:
        self.now = now
        self.seconds = 1000.0

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture
def facts(hands: Hands) -> FactClock:
    return FactClock(3600, hands, lambda: hands.seconds)


def test_a_clock_that_is_right_is_followed(facts: FactClock, hands: Hands) -> None:
    for _ in range(3):
        assert facts.stamp() == hands.now
        hands.now += SECOND


@pytest.mark.parametrize("back", [timedelta(milliseconds=5), HOUR - SECOND, HOUR])
def test_a_clock_that_goes_back_within_the_bound_stands_still(
    facts: FactClock, hands: Hands, back: timedelta
) -> None:
    newest = facts.stamp()
    hands.now -= back
    assert facts.stamp() == newest
    hands.now += back + SECOND
    assert facts.stamp() == newest + SECOND


def test_a_fact_of_another_process_is_not_undercut(facts: FactClock, hands: Hands) -> None:
    facts.know([NOON + HOUR / 2, NOON])
    assert facts.stamp() == NOON + HOUR / 2
    assert facts.behind_seconds() == 1800


def test_beyond_the_bound_the_clock_counts_and_the_log_says_so_once_a_minute(
    facts: FactClock, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A logger that was used before is beyond the reach of a capture.
    monkeypatch.setattr("huajuan.event_store.fact_clock._logger", structlog.get_logger())
    facts.know([NOON + YEAR])
    with capture_logs() as logs:
        assert [facts.stamp() for _ in range(3)] == [NOON] * 3
        hands.seconds += WARN_EVERY_SECONDS
        facts.stamp()
    assert [(entry["behind_seconds"], entry["facts"]) for entry in logs] == [
        (YEAR.total_seconds(), 1),
        (YEAR.total_seconds(), 3),
    ]
    assert facts.behind_seconds() == YEAR.total_seconds()


def test_own_stamps_of_a_clock_that_was_ahead_do_not_bind_it(facts: FactClock, hands: Hands) -> None:
    hands.now += YEAR
    facts.know([facts.stamp()])
    hands.now = NOON
    assert facts.stamp() == NOON
    hands.now -= HOUR / 2
    assert facts.stamp() == NOON, "what was before the jump is kept up with"


def test_one_fact_far_ahead_hides_none_that_is_near(facts: FactClock) -> None:
    facts.know([NOON + YEAR, NOON + SECOND, NOON - SECOND])
    assert facts.stamp() == NOON + SECOND


def test_with_a_bound_of_nothing_the_clock_always_counts(hands: Hands) -> None:
    facts = FactClock(0, hands)
    facts.know([NOON + SECOND])
    assert facts.stamp() == NOON


async def registered_at(store: EventStore, name: str) -> datetime:
    await register(store, name)
    account = await store.find(Account, store.stream_ids.account(name))
    assert account
    return account.created_on


async def learns(dsn: str, learn: Callable[[EventStore], object]) -> None:
    """A store whose clock is half an hour behind stamps no earlier than what another has appended before."""
    hands = Hands()
    async with (
        open_pool(dsn, POOL_CONNECTIONS_MAX) as pool,
        opened(dsn) as ahead,
        open_event_store(dsn, pool, hands, LogLimits()) as behind,
    ):
        newest = await registered_at(ahead, "ann")
        hands.now = newest - HOUR / 2
        found = learn(behind)
        if found is not None:
            await found  # type: ignore[misc]
        await until(lambda: behind.facts.behind_seconds() > 0)
        assert await registered_at(behind, "ben") >= newest


async def test_the_end_of_the_log_is_read_when_another_process_has_appended(database_url: str) -> None:
    await learns(database_url, lambda store: store.head.moved())


async def test_what_is_decided_on_is_known(database_url: str) -> None:
    await learns(database_url, lambda store: store.find(Account, store.stream_ids.account("ann")))


async def test_a_process_that_starts_knows_the_end_of_the_log(database_url: str) -> None:
    async with opened(database_url) as store:
        newest = await registered_at(store, "ann")
    async with (
        open_pool(database_url, POOL_CONNECTIONS_MAX) as pool,
        open_event_store(database_url, pool, Hands(newest - HOUR / 2)) as behind,
    ):
        assert await registered_at(behind, "ben") == newest


async def test_400_days_ahead_for_one_check_in_harm_nothing_else(database_url: str) -> None:
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
        assert store.facts.behind_seconds() == pytest.approx(YEAR.total_seconds() - 1)
        assert (await store.change(lambda a: [a] if a else [], Stream(Account, ann))).position == 0
