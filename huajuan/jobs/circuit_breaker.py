"""The circuit breaker of an inference server: which failures count, and how long it gets no job."""

import asyncio
from uuid import UUID

from huajuan.jobs.queue import DispatchLimits

STREAK_MAX = 100
# A failure that opened the circuit is not counted again when another server draws the job soon after.
SAME_FAILURE_SECONDS = 0.2


class CircuitBreaker:
    """Opens after a failure that counts, each time for longer; then half-open: one job at a time until one
    succeeds.

    A failed job counts when another server draws it, or when consecutive jobs of two accounts have failed.
    `failures` is 0 while the circuit is closed.
    """

    def __init__(self, limits: DispatchLimits) -> None:
        self.failures = 0
        self._limits = limits
        self._until = 0.0
        self._opened_at = self._succeeded_at = float("-inf")
        # Failed jobs since the last success, and those that opened the circuit, with their accounts.
        self._streak: dict[UUID, UUID | None] = {}
        self._opened_by: dict[UUID, UUID | None] = {}

    @property
    def cooldown_seconds(self) -> float:
        return max(0.0, self._until - _now())

    def record_success(self) -> None:
        self.failures, self._succeeded_at = 0, _now()
        self._streak, self._opened_by = {}, {}

    def open(self, seconds_max: float) -> float:
        """Returns the cooldown in seconds."""
        seconds: float = min(seconds_max, self._limits.cooldown_seconds_min * 2 ** min(self.failures, 30))
        self.failures += 1
        self._opened_at = _now()
        self._until = self._opened_at + seconds
        self._streak, self._opened_by = {}, {}
        return seconds

    def half_open(self) -> None:
        """Allow one job at a time, after a short pause that does not grow."""
        self.failures = max(1, self.failures)
        self._until = max(self._until, _now() + self._limits.cooldown_seconds_min)

    def record_failure(self, image_id: UUID, account_id: UUID | None) -> bool:
        """Returns whether the circuit opened: consecutive jobs of different accounts have failed."""
        if self.cooldown_seconds and self._opened_by:
            return False
        self._streak[image_id] = account_id
        while len(self._streak) > STREAK_MAX:
            del self._streak[next(iter(self._streak))]
        if _accounts(self._streak) < 2:
            return False
        streak = self._streak
        self.open(self._limits.cooldown_seconds_max)
        self._opened_by = streak
        return True

    def counts(self, failed_at: float) -> bool:
        """Whether a failure at that time counts when another server has drawn the job."""
        return failed_at > max(self._succeeded_at, self._opened_at + SAME_FAILURE_SECONDS)

    def acquit(self, image_id: UUID) -> None:
        """The job failed at another server as well: it does not count, and may close the circuit again."""
        self._streak.pop(image_id, None)
        if image_id in self._opened_by:
            del self._opened_by[image_id]
            if _accounts(self._opened_by) < 2:
                self.failures, self._until, self._opened_by = max(0, self.failures - 1), 0.0, {}


def _accounts(jobs: dict[UUID, UUID | None]) -> int:
    return len({account for account in jobs.values() if account})


def _now() -> float:
    return asyncio.get_running_loop().time()
