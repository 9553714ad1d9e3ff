"""The time of new events: monotonic, and not behind the newest event in the log."""

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import msgspec
import structlog

from huajuan.postgres.statements import QueryBatcher

WARN_EVERY_SECONDS = 60.0
# The newest event need not be the last one: clocks differ, and one of them may have jumped for a while.
HEAD_EVENTS = 100
_HEAD = b"SELECT state FROM log.huajuan_events ORDER BY notification_id DESC LIMIT %b"
_LONG_AGO = datetime.min.replace(tzinfo=UTC)
_logger = structlog.get_logger(__name__)


class _Timed(msgspec.Struct):
    timestamp: datetime


_decode = msgspec.json.Decoder(_Timed).decode


class EventClock:
    """`clock` may jump or be late.

    An event that is ahead of it by more than the bound is ignored as a reference.
    """

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

    def next_timestamp(self) -> datetime:
        """The time of a new event. It only goes back where the clock went back by more than the bound."""
        now = self._clock()
        if now - self._reference < -self._bound:
            self._reference = now
        self._reference = max(self._reference, now)
        if self._newest - now > self._bound:
            self._warn(now)
        return self._reference

    def observe(self, times: Iterable[datetime]) -> None:
        """Takes the times of events of the log into account."""
        for moment in times:
            self._newest = max(self._newest, moment)
            if moment > self._reference and moment - self._clock() <= self._bound:
                self._reference = moment

    def behind_seconds(self) -> float:
        """How far the clock is behind the newest event."""
        return max(0.0, (self._newest - self._clock()).total_seconds())

    async def read_head(self, reads: QueryBatcher) -> None:
        """Observes the last events of the log, which other processes may have appended."""
        times = []
        for (state,) in await reads.run(_HEAD, (HEAD_EVENTS,)):
            with suppress(msgspec.DecodeError, UnicodeDecodeError):  # `verify` reports damaged rows
                times.append(_decode(state).timestamp)
        self.observe(times)

    def _warn(self, now: datetime) -> None:
        """Logs once a minute, with the number of events since the last warning."""
        self._unreported += 1
        if self._monotonic() < self._warn_at:
            return
        _logger.warning(
            "the clock is behind the newest event of the log; new events get the clock's time",
            behind_seconds=round((self._newest - now).total_seconds(), 3),
            bound_seconds=self._bound.total_seconds(),
            events=self._unreported,
        )
        self._warn_at, self._unreported = self._monotonic() + WARN_EVERY_SECONDS, 0
