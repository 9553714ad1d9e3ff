"""Log-in attempts: what is under way holds a place that nothing can leak, and what is known of an account is bounded."""

import asyncio

import psycopg
import pytest

from huajuan.auth.login_attempts import AttemptLimits, Attempts
from huajuan.auth.rate_limits import RateLimited
from huajuan.event_store.errors import LogUnavailable
from huajuan.postgres.statements import Statements
from huajuan.runtime.threads import TooManyWaiting
from tests.commands.people import a_person
from tests.services import desk_on, until

HOME = "203.0.113.9"
AT_ONCE = AttemptLimits(account_failures_max=1, wait_seconds=0)


async def log_in(attempts: Attempts, address: str = HOME, name: str = "ann") -> None:
    async with attempts.guard(name, address) as attempt:
        attempt.succeeded()


async def fail(attempts: Attempts, address: str = HOME, name: str = "ann") -> None:
    async with attempts.guard(name, address) as attempt:
        attempt.failed()


def rows(dsn: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        cursor = connection.execute(query.encode())
        return cursor.fetchall() if cursor.description else []


async def test_a_cancelled_attempt_gives_its_place_back(database_url: str) -> None:
    async with desk_on(database_url, login=AT_ONCE) as desk:
        begun = asyncio.Event()

        async def hang() -> None:
            async with desk.attempts.guard("ann", HOME):
                begun.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(hang())
        await begun.wait()
        with pytest.raises(RateLimited):
            await log_in(desk.attempts)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await log_in(desk.attempts)
        assert rows(database_url, "SELECT 1 FROM operations.counted_attempts") == []


async def test_an_attempt_whose_process_died_gives_its_place_back_in_time(database_url: str) -> None:
    async with desk_on(database_url, login=AT_ONCE) as desk:
        await desk.attempts._begin("ann", HOME)
        with pytest.raises(RateLimited) as held:
            await log_in(desk.attempts)
        assert held.value.retry_after_seconds == 1
        ((seconds,),) = rows(
            database_url,
            "SELECT max(extract(epoch FROM ends_at - now()))::int FROM operations.counted_attempts",
        )
        assert isinstance(seconds, int)
        assert 60 < seconds <= 90
        rows(database_url, "UPDATE operations.counted_attempts SET ends_at = now() - interval '1 s'")
        await log_in(desk.attempts)


async def test_an_attempt_that_takes_longer_than_its_lease_is_given_up(database_url: str) -> None:
    limits = AttemptLimits(attempt_seconds_max=0.05)
    async with desk_on(database_url, login=limits) as desk:
        with pytest.raises(TooManyWaiting):
            async with desk.attempts.guard("ann", HOME):
                await asyncio.Event().wait()
        assert rows(database_url, "SELECT 1 FROM operations.counted_attempts") == []


async def test_an_exception_that_is_no_failure_does_not_count(database_url: str) -> None:
    async with desk_on(database_url, login=AT_ONCE) as desk:
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                async with desk.attempts.guard("ann", HOME):
                    raise ZeroDivisionError
        await log_in(desk.attempts)


async def test_a_failure_that_cannot_be_counted_is_not_told(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with desk_on(database_url) as desk:

        async def away(*_: object) -> None:
            raise LogUnavailable

        async def fail_without_a_database() -> None:
            async with desk.attempts.guard("ann", HOME) as attempt:
                monkeypatch.setattr(Statements, "run", away)
                attempt.failed()
                raise ZeroDivisionError

        with pytest.raises(LogUnavailable):
            await fail_without_a_database()


async def test_what_was_decided_stands_though_the_place_could_not_be_given_back(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with desk_on(database_url) as desk:

        async def away(*_: object) -> None:
            raise LogUnavailable

        async with desk.attempts.guard("ann", HOME) as attempt:
            monkeypatch.setattr(Statements, "run", away)
            attempt.succeeded()


async def test_more_wait_than_may_wait_are_told_to_come_again(database_url: str) -> None:
    limits = AttemptLimits(account_failures_max=1, waiting_max=0)
    async with desk_on(database_url, login=limits) as desk:
        async with desk.attempts.guard("ann", HOME):
            with pytest.raises(RateLimited) as held:
                await log_in(desk.attempts)
        assert held.value.retry_after_seconds == 1


async def test_a_statement_that_is_sent_twice_counts_once(database_url: str) -> None:
    async with desk_on(database_url) as desk:
        attempt = await desk.attempts._begin("ann", HOME)
        attempt.failed()
        for _ in range(2):
            await desk.attempts._end(attempt)
        counted = rows(database_url, "SELECT 1 FROM operations.counted_attempts WHERE is_counted")
        assert len(counted) == 2  # of the account, and of the address


async def test_failures_leave_the_window_one_by_one(database_url: str) -> None:
    async with desk_on(database_url, login=AttemptLimits(account_failures_max=2)) as desk:
        for _ in range(2):
            await fail(desk.attempts)
        with pytest.raises(RateLimited) as locked:
            await fail(desk.attempts)
        assert 890 <= locked.value.retry_after_seconds <= 900
        rows(
            database_url,
            "UPDATE operations.counted_attempts SET ends_at = now() WHERE attempt ="
            " (SELECT attempt FROM operations.counted_attempts ORDER BY ends_at LIMIT 1)",
        )
        await fail(desk.attempts)
        with pytest.raises(RateLimited):
            await fail(desk.attempts)


async def test_the_newest_known_addresses_are_kept(database_url: str) -> None:
    limits = AttemptLimits(known_addresses_max=3, account_failures_max=1)
    async with desk_on(database_url, login=limits) as desk:
        await a_person(desk)
        for n in range(5):
            await log_in(desk.attempts, f"192.0.2.{n}")
        await log_in(desk.attempts, "192.0.2.2")
        await log_in(desk.attempts, "192.0.2.9")
        assert len(rows(database_url, "SELECT 1 FROM operations.known_addresses")) == 3
        await fail(desk.attempts, "198.51.100.1")
        for n in (2, 4, 9):
            await log_in(desk.attempts, f"192.0.2.{n}")
        for n in (0, 1, 3):
            with pytest.raises(RateLimited):
                await log_in(desk.attempts, f"192.0.2.{n}")


async def test_an_address_is_known_for_so_many_days(database_url: str) -> None:
    limits = AttemptLimits(account_failures_max=1)
    async with desk_on(database_url, login=limits) as desk:
        await a_person(desk)
        await log_in(desk.attempts)
        rows(database_url, "UPDATE operations.known_addresses SET seen_at = now() - interval '89 days'")
        await fail(desk.attempts, "198.51.100.1")
        await log_in(desk.attempts)
        rows(database_url, "UPDATE operations.known_addresses SET seen_at = now() - interval '91 days'")
        with pytest.raises(RateLimited):
            await log_in(desk.attempts)
        await desk.attempts.tidy()
        assert rows(database_url, "SELECT 1 FROM operations.known_addresses") == []


async def test_nothing_is_known_of_an_account_that_is_not_there(database_url: str) -> None:
    """It was erased while its owner logged in, say."""
    async with desk_on(database_url) as desk:
        await log_in(desk.attempts, name="nobody")
        assert rows(database_url, "SELECT 1 FROM operations.known_addresses") == []


async def test_an_address_that_is_noted_during_an_erasure_goes_with_it(database_url: str) -> None:
    async with desk_on(database_url) as desk:
        ann = await a_person(desk)
        with psycopg.connect(database_url) as erasure:
            erasure.execute("UPDATE operations.personal_keys SET key = NULL WHERE subject_id = %s", (ann,))
            login = asyncio.create_task(log_in(desk.attempts))
            waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%know_address%'"
            await until(lambda: bool(rows(database_url, waits)))
            erasure.commit()
        await login
        assert rows(database_url, "SELECT 1 FROM operations.known_addresses") == []


async def test_what_is_kept_names_no_address_and_no_account(database_url: str) -> None:
    async with desk_on(database_url) as desk:
        await a_person(desk)
        await log_in(desk.attempts)
        await fail(desk.attempts)
        kept = rows(database_url, "SELECT subject FROM operations.counted_attempts")
        kept += rows(database_url, "SELECT address FROM operations.known_addresses")
        assert {len(value) for row in kept for value in row if isinstance(value, bytes)} == {32}
        assert len({value for row in kept for value in row}) == 3


async def test_what_has_left_the_window_is_tidied_away(database_url: str) -> None:
    async with desk_on(database_url) as desk:
        await fail(desk.attempts)
        await desk.attempts.tidy()
        assert len(rows(database_url, "SELECT 1 FROM operations.counted_attempts")) == 2
        rows(database_url, "UPDATE operations.counted_attempts SET ends_at = now() - interval '1 s'")
        await desk.attempts.tidy()
        assert rows(database_url, "SELECT 1 FROM operations.counted_attempts") == []
