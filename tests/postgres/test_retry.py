"""Retries: exponential pauses, a deadline, and the errors that end them."""

import asyncio
from collections.abc import Awaitable, Callable

import psycopg
import pytest
from psycopg_pool import PoolClosed, PoolTimeout

from huajuan.postgres.retry import Backoff, DatabaseBusy, DatabaseUnavailable, retry, retry_query


def failing(*errors: BaseException) -> Callable[[], Awaitable[int]]:
    """Work that raises these errors one after the other, then returns the number of the call."""
    left = list(errors)

    async def work() -> int:
        if left:
            raise left.pop(0)
        return len(errors) + 1

    return work


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses, which take no time."""
    found: list[float] = []

    async def sleep(seconds: float) -> None:
        found.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    return found


async def test_pauses_double_up_to_the_maximum(pauses: list[float]) -> None:
    backoff = Backoff(pause_seconds=1, pause_seconds_max=5)
    assert all([await backoff.pause() for _ in range(5)])
    backoff.reset()
    assert await backoff.pause()
    assert pauses == [1, 2, 4, 5, 5, 1]


async def test_there_is_no_pause_beyond_the_deadline(pauses: list[float]) -> None:
    backoff = Backoff(seconds_max=10, pause_seconds=4, pause_seconds_max=100)
    assert [await backoff.pause() for _ in range(3)] == [True, True, False]
    assert pauses == [4, 8]


async def test_work_is_repeated_until_it_succeeds(pauses: list[float]) -> None:
    assert await retry(failing(KeyError(), KeyError()), Backoff(), (KeyError,)) == 3
    assert len(pauses) == 2


async def test_another_error_is_raised_at_once(pauses: list[float]) -> None:
    with pytest.raises(ValueError, match="wrong"):
        await retry(failing(KeyError(), ValueError("wrong")), Backoff(), (KeyError,))
    assert len(pauses) == 1


async def test_at_the_deadline_the_last_error_is_raised() -> None:
    with pytest.raises(KeyError, match="second"):
        await retry(failing(KeyError("first"), KeyError("second")), Backoff(0.03, 0.02), (KeyError,))


@pytest.mark.parametrize(
    "error", [psycopg.OperationalError(), psycopg.InterfaceError(), PoolTimeout(), TimeoutError()]
)
async def test_a_query_is_repeated_after_an_outage(error: Exception) -> None:
    assert await retry_query(failing(error, error), 5) == 3
    with pytest.raises(DatabaseUnavailable):
        await retry_query(failing(error), 0.001)


@pytest.mark.parametrize(
    ("error", "raised"), [(psycopg.errors.QueryCanceled(), DatabaseBusy), (PoolClosed(), DatabaseUnavailable)]
)
async def test_a_cancelled_query_and_a_closed_pool_are_not_repeated(
    error: Exception, raised: type[Exception], pauses: list[float]
) -> None:
    with pytest.raises(raised):
        await retry_query(failing(error), 5)
    assert pauses == []


async def test_a_hanging_query_ends_at_the_deadline() -> None:
    async def hangs() -> None:
        await asyncio.sleep(3600)

    with pytest.raises(DatabaseUnavailable):
        await retry_query(hangs, 0.05)
