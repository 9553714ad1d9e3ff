"""Stamps new facts so that they do not fall behind the newest fact that this process knows."""

import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta

import structlog

WARN_EVERY_SECONDS = 60.0
_LONG_AGO = datetime.min.replace(tzinfo=UTC)
_logger = structlog.get_logger(__name__)


class FactClock:
    """`clock` may jump or lag. A fact that is ahead of it by more than the bound says nothing of the time."""

    def __init__(
        self,
        behind_seconds_max: float,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bound = timedelta(seconds=behind_seconds_max)
        self._clock = clock
        self._monotonic = monotonic
        self._newest = self._reference = _LONG_AGO
        self._warn_at = 0.0
        self._unreported = 0

    def stamp(self) -> datetime:
        """The time that a new fact carries: never earlier than the stamp before, unless the clock went back by
        more than the bound.
        """
        now = self._clock()
        if now - self._reference < -self._bound:
            self._reference = now
        self._reference = max(self._reference, now)
        if self._newest - now > self._bound:
            self._warn(now)
        return self._reference

    def know(self, times: Iterable[datetime]) -> None:
        """There are facts of these times."""
        known = list(times)
        self._newest = max([self._newest, *known])
        if later := [moment for moment in known if moment > self._reference]:
            now = self._clock()
            near = (moment for moment in later if moment - now <= self._bound)
            self._reference = max([self._reference, *near])

    def behind_seconds(self) -> float:
        """How far the clock is behind the newest fact."""
        return max(0.0, (self._newest - self._clock()).total_seconds())

    def _warn(self, now: datetime) -> None:
        """Once a minute, with how many facts were stamped since."""
        self._unreported += 1
        if self._monotonic() < self._warn_at:
            return
        _logger.warning(
            "the clock is behind the newest fact in the log and counts all the same",
            behind_seconds=round((self._newest - now).total_seconds(), 3),
            bound_seconds=self._bound.total_seconds(),
            facts=self._unreported,
        )
        self._warn_at, self._unreported = self._monotonic() + WARN_EVERY_SECONDS, 0
