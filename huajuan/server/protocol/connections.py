"""All HTTP connections of a process: how many there may be, and a periodic look at their time limits."""

import asyncio
from collections import OrderedDict
from typing import Protocol

import structlog

from huajuan.http.limits import HttpLimits

LOOK_SECONDS_MAX = 1.0
LOOK_SECONDS_MIN = 0.02
# Time limits are met to within a part of the shortest of them.
LOOKS_A_LIMIT = 8
# Connections beyond the bound that are only being told so.
REFUSED_AT_ONCE_MAX = 16
LOG_EVERY_SECONDS = 60.0
_logger = structlog.get_logger(__name__)


class Connection(Protocol):
    """What is asked of each one."""

    @property
    def unsent_bytes(self) -> int: ...

    def look(self, now: float, elapsed: float) -> None:
        """Close it if it has taken too long; `elapsed` seconds passed since the last look."""

    def discard(self) -> None:
        """Close it at once, for another needs its place."""

    def is_slow(self, now: float) -> bool:
        """Whether its request has been incomplete for so long that another may have its place."""


class Connections:
    """`idle` has those that wait for a request, the longest idle one first; `stalled` those that do not read."""

    def __init__(self, limits: HttpLimits, bound: int, loop: asyncio.AbstractEventLoop) -> None:
        self.limits = limits
        self.bound = bound
        self.idle: OrderedDict[Connection, None] = OrderedDict()
        self._open: OrderedDict[Connection, None] = OrderedDict()
        self._stalled: OrderedDict[Connection, None] = OrderedDict()
        self._refused: OrderedDict[Connection, None] = OrderedDict()
        self.loop = loop
        self._looked_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._refused_count = 0
        self._log_after = 0.0

    def __len__(self) -> int:
        return len(self._open)

    def enter(self, connection: Connection) -> bool:
        """Whether there is a place for it. At the bound the longest idle connection is closed to make one."""
        is_admitted = len(self._open) < self.bound or self._make_place()
        if is_admitted:
            self._open[connection] = None
            self.idle[connection] = None
        else:
            self._refuse(connection)
        if self._timer is None:
            self._looked_at = self.loop.time()
            self._timer = self.loop.call_later(self._look_seconds(), self._look)
        return is_admitted

    def leave(self, connection: Connection) -> None:
        for group in (self._open, self.idle, self._stalled, self._refused):
            group.pop(connection, None)
        if self._timer and not self._open and not self._refused:
            self._timer.cancel()
            self._timer = None

    def stalls(self, connection: Connection) -> None:
        """It does not read what was written. All of these together keep at most `unsent_bytes_max` in memory."""
        self._stalled[connection] = None
        unsent = sum(one.unsent_bytes for one in self._stalled)
        while unsent > self.limits.unsent_bytes_max and self._stalled:
            longest = next(iter(self._stalled))
            unsent -= longest.unsent_bytes
            self.leave(longest)
            longest.discard()

    def reads_again(self, connection: Connection) -> None:
        self._stalled.pop(connection, None)

    def _make_place(self) -> bool:
        now = self.loop.time()
        victim = next(iter(self.idle), None) or next((c for c in self._open if c.is_slow(now)), None)
        if victim is None:
            return False
        self.leave(victim)
        victim.discard()
        return True

    def _refuse(self, connection: Connection) -> None:
        self._refused[connection] = None
        self._refused_count += 1
        while len(self._refused) > REFUSED_AT_ONCE_MAX:
            self._refused.popitem(last=False)[0].discard()
        now = self.loop.time()
        if now >= self._log_after:
            self._log_after = now + LOG_EVERY_SECONDS
            _logger.warning("connections refused", bound=self.bound, refused=self._refused_count)
            self._refused_count = 0

    def _look(self) -> None:
        now = self.loop.time()
        elapsed, self._looked_at = now - self._looked_at, now
        self._timer = self.loop.call_later(self._look_seconds(), self._look)
        for connection in (*self._open, *self._refused):
            connection.look(now, elapsed)

    def _look_seconds(self) -> float:
        limits = self.limits
        shortest = min(
            limits.head_seconds,
            limits.body_seconds,
            limits.write_stall_seconds,
            limits.keep_alive_seconds or LOOK_SECONDS_MAX,
        )
        return min(LOOK_SECONDS_MAX, max(LOOK_SECONDS_MIN, shortest / LOOKS_A_LIMIT))
