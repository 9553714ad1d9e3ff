"""The circuit breaker: which failures open it."""

from uuid import UUID, uuid4

import pytest

from huajuan.jobs.circuit_breaker import STREAK_MAX, CircuitBreaker
from huajuan.jobs.queue import DispatchLimits
from tests.jobs.test_servers import Clock

LIMITS = DispatchLimits(cooldown_seconds_min=1, cooldown_seconds_max=10)
ANN, BEN, JOB, OTHER = UUID(int=1), UUID(int=2), UUID(int=3), UUID(int=4)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("huajuan.jobs.circuit_breaker.asyncio.get_running_loop", lambda: clock)
    return clock


@pytest.fixture
def circuit(clock: Clock) -> CircuitBreaker:
    return CircuitBreaker(LIMITS)


def test_failures_of_one_account_never_open_the_circuit(circuit: CircuitBreaker) -> None:
    assert not any(circuit.record_failure(uuid4(), ANN) for _ in range(2 * STREAK_MAX))
    assert (circuit.failures, circuit.cooldown_seconds) == (0, 0)


def test_consecutive_failures_of_two_accounts_open_the_circuit(circuit: CircuitBreaker) -> None:
    assert not circuit.record_failure(JOB, ANN)
    assert circuit.record_failure(OTHER, BEN)
    assert (circuit.failures, circuit.cooldown_seconds) == (1, 1)


def test_a_success_resets_the_streak(circuit: CircuitBreaker) -> None:
    circuit.record_failure(JOB, ANN)
    circuit.record_success()
    assert not circuit.record_failure(OTHER, BEN)


def test_a_job_of_an_unknown_account_does_not_count_as_a_second_account(circuit: CircuitBreaker) -> None:
    circuit.record_failure(JOB, ANN)
    assert not circuit.record_failure(OTHER, None)


@pytest.mark.parametrize("job", [JOB, OTHER])
def test_a_failure_at_another_server_closes_the_circuit_again(circuit: CircuitBreaker, job: UUID) -> None:
    circuit.record_failure(JOB, ANN)
    circuit.record_failure(OTHER, BEN)
    circuit.acquit(job)
    assert (circuit.failures, circuit.cooldown_seconds) == (0, 0)


def test_a_failure_at_another_server_removes_the_job_from_the_streak(circuit: CircuitBreaker) -> None:
    circuit.record_failure(JOB, ANN)
    circuit.acquit(JOB)
    assert not circuit.record_failure(OTHER, BEN)


def test_a_circuit_opened_for_another_reason_stays_open(circuit: CircuitBreaker) -> None:
    circuit.record_failure(JOB, ANN)
    circuit.open(10)
    circuit.acquit(JOB)
    assert (circuit.failures, circuit.cooldown_seconds) == (1, 1)


def test_a_failure_counts_once_when_another_server_draws_the_job(
    circuit: CircuitBreaker, clock: Clock
) -> None:
    failed_at = clock.now
    assert circuit.counts(failed_at)
    clock.now += 5
    circuit.open(10)
    assert not circuit.counts(failed_at)
    clock.now += 5
    assert circuit.counts(clock.now)
    circuit.record_success()
    assert not circuit.counts(clock.now - 1)


def test_the_half_open_pause_does_not_grow(circuit: CircuitBreaker, clock: Clock) -> None:
    for _ in range(5):
        circuit.half_open()
        assert (circuit.failures, circuit.cooldown_seconds) == (1, 1)
        clock.now += 1
