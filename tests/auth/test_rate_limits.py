"""Log-in attempts: running attempts count and never leak, and known addresses are bounded."""

import asyncio

import psycopg
import pytest

from huajuan.auth.rate_limits import LoginAttemptLimits, LoginAttempts, RateLimited
from huajuan.event_store.errors import DatabaseUnavailable
from huajuan.postgres.statements import Statements
from huajuan.runtime.periodic import TooManyWaiting
from tests.commands.people import a_person
from tests.services import services_on, until

HOME = "203.0.113.9"
AT_ONCE = LoginAttemptLimits(account_failures_max=1, wait_seconds=0)


async def log_in(attempts: LoginAttempts, address: str = HOME, name: str = "ann") -> None:
    async with attempts.guard(name, address) as attempt:
        attempt.succeeded()


async def fail(attempts: LoginAttempts, address: str = HOME, name: str = "ann") -> None:
    async with attempts.guard(name, address) as attempt:
        attempt.failed()


def rows(dsn: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        cursor = connection.execute(query.encode())
        return cursor.fetchall() if cursor.description else []


async def test_a_cancelled_attempt_is_released(database_url: str) -> None:
    async with services_on(database_url, login=AT_ONCE) as services:
        begun = asyncio.Event()

        async def hang() -> None:
            async with services.attempts.guard("ann", HOME):
                begun.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(hang())
        await begun.wait()
        with pytest.raises(RateLimited):
            await log_in(services.attempts)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await log_in(services.attempts)
        assert rows(database_url, "SELECT 1 FROM operations.counted_attempts") == []


async def test_the_attempt_of_a_dead_process_expires(database_url: str) -> None:
    async with services_on(database_url, login=AT_ONCE) as services:
        await services.attempts._begin("ann", HOME)
        with pytest.raises(RateLimited) as held:
            await log_in(services.attempts)
        assert held.value.retry_after_seconds == 1
        ((seconds,),) = rows(
            database_url,
            "SELECT max(extract(epoch FROM ends_at - now()))::int FROM operations.counted_attempts",
        )
        assert isinstance(seconds, int)
        assert 60 < seconds <= 90
        rows(database_url, "UPDATE operations.counted_attempts SET ends_at = now() - interval '1 s'")
        await log_in(services.attempts)


async def test_an_attempt_is_cancelled_after_its_time_limit(database_url: str) -> None:
    limits = LoginAttemptLimits(attempt_seconds_max=0.05)
    async with services_on(database_url, login=limits) as services:
        with pytest.raises(TooManyWaiting):
            async with services.attempts.guard("ann", HOME):
                await asyncio.Event().wait()
        assert rows(database_url, "SELECT 1 FROM operations.counted_attempts") == []


async def test_an_exception_does_not_count_as_a_failure(database_url: str) -> None:
    async with services_on(database_url, login=AT_ONCE) as services:
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                async with services.attempts.guard("ann", HOME):
                    raise ZeroDivisionError
        await log_in(services.attempts)


async def test_a_failure_that_cannot_be_counted_is_an_error(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with services_on(database_url) as services:

        async def away(*_: object) -> None:
            raise DatabaseUnavailable

        async def fail_without_a_database() -> None:
            async with services.attempts.guard("ann", HOME) as attempt:
                monkeypatch.setattr(Statements, "run", away)
                attempt.failed()
                raise ZeroDivisionError

        with pytest.raises(DatabaseUnavailable):
            await fail_without_a_database()


async def test_a_result_stands_if_its_attempt_cannot_be_released(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with services_on(database_url) as services:

        async def away(*_: object) -> None:
            raise DatabaseUnavailable

        async with services.attempts.guard("ann", HOME) as attempt:
            monkeypatch.setattr(Statements, "run", away)
            attempt.succeeded()


async def test_too_many_waiting_attempts_are_rate_limited(database_url: str) -> None:
    limits = LoginAttemptLimits(account_failures_max=1, waiting_max=0)
    async with services_on(database_url, login=limits) as services:
        async with services.attempts.guard("ann", HOME):
            with pytest.raises(RateLimited) as held:
                await log_in(services.attempts)
        assert held.value.retry_after_seconds == 1


async def test_a_statement_sent_twice_counts_once(database_url: str) -> None:
    async with services_on(database_url) as services:
        attempt = await services.attempts._begin("ann", HOME)
        attempt.failed()
        for _ in range(2):
            await services.attempts._end(attempt)
        counted = rows(database_url, "SELECT 1 FROM operations.counted_attempts WHERE is_counted")
        assert len(counted) == 2  # one row of the account, and one of the address


async def test_failures_leave_the_window_one_by_one(database_url: str) -> None:
    async with services_on(database_url, login=LoginAttemptLimits(account_failures_max=2)) as services:
        for _ in range(2):
            await fail(services.attempts)
        with pytest.raises(RateLimited) as locked:
            await fail(services.attempts)
        assert 890 <= locked.value.retry_after_seconds <= 900
        rows(
            database_url,
            "UPDATE operations.counted_attempts SET ends_at = now() WHERE attempt ="
            " (SELECT attempt FROM operations.counted_attempts ORDER BY ends_at LIMIT 1)",
        )
        await fail(services.attempts)
        with pytest.raises(RateLimited):
            await fail(services.attempts)


async def test_the_newest_known_addresses_are_kept(database_url: str) -> None:
    limits = LoginAttemptLimits(known_addresses_max=3, account_failures_max=1)
    async with services_on(database_url, login=limits) as services:
        await a_person(services)
        for n in range(5):
            await log_in(services.attempts, f"192.0.2.{n}")
        await log_in(services.attempts, "192.0.2.2")
        await log_in(services.attempts, "192.0.2.9")
        assert len(rows(database_url, "SELECT 1 FROM operations.known_addresses")) == 3
        await fail(services.attempts, "198.51.100.1")
        for n in (2, 4, 9):
            await log_in(services.attempts, f"192.0.2.{n}")
        for n in (0, 1, 3):
            with pytest.raises(RateLimited):
                await log_in(services.attempts, f"192.0.2.{n}")


async def test_a_known_address_expires(database_url: str) -> None:
    limits = LoginAttemptLimits(account_failures_max=1)
    async with services_on(database_url, login=limits) as services:
        await a_person(services)
        await log_in(services.attempts)
        rows(database_url, "UPDATE operations.known_addresses SET seen_at = now() - interval '89 days'")
        await fail(services.attempts, "198.51.100.1")
        await log_in(services.attempts)
        rows(database_url, "UPDATE operations.known_addresses SET seen_at = now() - interval '91 days'")
        with pytest.raises(RateLimited):
            await log_in(services.attempts)
        await services.attempts.delete_expired()
        assert rows(database_url, "SELECT 1 FROM operations.known_addresses") == []


async def test_a_missing_account_has_no_known_addresses(database_url: str) -> None:
    """For example because it was erased during the log-in."""
    async with services_on(database_url) as services:
        await log_in(services.attempts, name="nobody")
        assert rows(database_url, "SELECT 1 FROM operations.known_addresses") == []


async def test_an_address_recorded_during_an_erasure_is_removed(database_url: str) -> None:
    async with services_on(database_url) as services:
        ann = await a_person(services)
        with psycopg.connect(database_url) as erasure:
            erasure.execute("UPDATE operations.personal_keys SET key = NULL WHERE subject_id = %s", (ann,))
            login = asyncio.create_task(log_in(services.attempts))
            waits = (
                "SELECT 1 FROM pg_stat_activity "
                "WHERE wait_event_type = 'Lock' AND query LIKE '%remember_address%'"
            )
            await until(lambda: bool(rows(database_url, waits)))
            erasure.commit()
        await login
        assert rows(database_url, "SELECT 1 FROM operations.known_addresses") == []


async def test_the_rows_have_no_plain_address_or_account(database_url: str) -> None:
    async with services_on(database_url) as services:
        await a_person(services)
        await log_in(services.attempts)
        await fail(services.attempts)
        kept = rows(database_url, "SELECT subject FROM operations.counted_attempts")
        kept += rows(database_url, "SELECT address FROM operations.known_addresses")
        assert {len(value) for row in kept for value in row if isinstance(value, bytes)} == {32}
        assert len({value for row in kept for value in row}) == 3


async def test_expired_rows_are_deleted(database_url: str) -> None:
    async with services_on(database_url) as services:
        await fail(services.attempts)
        await services.attempts.delete_expired()
        assert len(rows(database_url, "SELECT 1 FROM operations.counted_attempts")) == 2
        rows(database_url, "UPDATE operations.counted_attempts SET ends_at = now() - interval '1 s'")
        await services.attempts.delete_expired()
        assert rows(database_url, "SELECT 1 FROM operations.counted_attempts") == []
