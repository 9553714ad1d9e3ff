"""The time of new events: monotonic, and not behind the newest event in the log."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import msgspec
import structlog

from huajuan.postgres.statements import QueryBatcher

# The newest event need not be the last one: clocks differ, and one of them may have jumped for a while.
HEAD_EVENTS = 100
_HEAD = b"SELECT state FROM log.huajuan_events ORDER BY notification_id DESC LIMIT %b"
_LONG_AGO = datetime.min.replace(tzinfo=UTC)
_logger = structlog.get_logger(__name__)


class _Timed(msgspec.Struct):
    timestamp: datetime


_decode = msgspec.json.Decoder(_Timed).decode


class EventClock:
    """`clock` may jump or be late. An event ahead of it by more than the bound is ignored as a reference."""

    def __init__(self, behind_seconds_max: float, clock: Callable[[], datetime]) -> None:
        self._bound = timedelta(seconds=behind_seconds_max)
        self._clock = clock
        self._newest = self._reference = _LONG_AGO

    def next_timestamp(self) -> datetime:
        """The time of a new event. It only goes back where the clock went back by more than the bound."""
        now = self._clock()
        if now - self._reference < -self._bound:
            self._reference = now
        self._reference = max(self._reference, now)
        if self._newest - now > self._bound:
            # The log throttle writes it once a minute, with the number of repetitions.
            _logger.warning(
                "the clock is behind the newest event of the log; new events get the clock's time",
                behind_seconds=round((self._newest - now).total_seconds(), 3),
                bound_seconds=self._bound.total_seconds(),
            )
        return self._reference

    def observe(self, times: Iterable[datetime]) -> None:
        """Takes the times of events of the log into account."""
        for moment in times:
            self._newest = max(self._newest, moment)
            if moment > self._reference and moment - self._clock() <= self._bound:
                self._reference = moment

    def behind_seconds(self) -> float:
        return max(0.0, (self._newest - self._clock()).total_seconds())

    async def read_head(self, reads: QueryBatcher) -> None:
        """Observes the last events of the log, which other processes may have appended."""
        times = []
        for (state,) in await reads.run(_HEAD, (HEAD_EVENTS,)):
            with suppress(msgspec.DecodeError, UnicodeDecodeError):  # `verify` reports damaged rows
                times.append(_decode(state).timestamp)
        self.observe(times)
