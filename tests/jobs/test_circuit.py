"""Which failures open a server's circuit, and that one person's jobs open none."""

from uuid import UUID, uuid4

import pytest

from huajuan.jobs.circuit_breaker import STREAK_MAX, CircuitBreaker
from huajuan.jobs.limits import DispatchLimits
from tests.jobs.test_painters import Clock

LIMITS = DispatchLimits(rest_seconds_min=1, rest_seconds_max=10)
ANN, BEN, JOB, OTHER = UUID(int=1), UUID(int=2), UUID(int=3), UUID(int=4)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("huajuan.jobs.circuit_breaker.asyncio.get_running_loop", lambda: clock)
    return clock


@pytest.fixture
def circuit(clock: Clock) -> CircuitBreaker:
    return CircuitBreaker(LIMITS)


def test_one_accounts_failures_open_nothing_however_many(circuit: CircuitBreaker) -> None:
    assert not any(circuit.record_failure(uuid4(), ANN) for _ in range(2 * STREAK_MAX))
    assert (circuit.failures, circuit.cooldown_seconds) == (0, 0)


def test_failures_of_two_accounts_in_a_row_open_it(circuit: CircuitBreaker) -> None:
    assert not circuit.record_failure(JOB, ANN)
    assert circuit.record_failure(OTHER, BEN)
    assert (circuit.failures, circuit.cooldown_seconds) == (1, 1)


def test_a_success_between_them_begins_a_new_row(circuit: CircuitBreaker) -> None:
    circuit.record_failure(JOB, ANN)
    circuit.record_success()
    assert not circuit.record_failure(OTHER, BEN)


def test_a_job_without_a_known_account_is_nobody_elses(circuit: CircuitBreaker) -> None:
    circuit.record_failure(JOB, ANN)
    assert not circuit.record_failure(OTHER, None)


@pytest.mark.parametrize("job", [JOB, OTHER])
def test_a_job_that_failed_elsewhere_too_closes_what_it_opened(circuit: CircuitBreaker, job: UUID) -> None:
    circuit.record_failure(JOB, ANN)
    circuit.record_failure(OTHER, BEN)
    circuit.acquit(job)
    assert (circuit.failures, circuit.cooldown_seconds) == (0, 0)


def test_a_job_that_failed_elsewhere_too_counts_in_no_row(circuit: CircuitBreaker) -> None:
    circuit.record_failure(JOB, ANN)
    circuit.acquit(JOB)
    assert not circuit.record_failure(OTHER, BEN)


def test_what_opened_it_otherwise_is_not_taken_back(circuit: CircuitBreaker) -> None:
    circuit.record_failure(JOB, ANN)
    circuit.open(10)
    circuit.acquit(JOB)
    assert (circuit.failures, circuit.cooldown_seconds) == (1, 1)


def test_a_failure_counts_once_it_was_drawn_elsewhere_and_only_if_it_is_news(
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


def test_half_open_does_not_grow(circuit: CircuitBreaker, clock: Clock) -> None:
    for _ in range(5):
        circuit.half_open()
        assert (circuit.failures, circuit.cooldown_seconds) == (1, 1)
        clock.now += 1
