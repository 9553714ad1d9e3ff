"""All HTTP connections of a process: their maximum number, and a periodic check of their time limits."""

import asyncio
import fcntl
import struct
import termios
from collections import OrderedDict
from typing import Protocol

import msgspec
import structlog

CHECK_SECONDS_MAX = 1.0
CHECK_SECONDS_MIN = 0.02
# The checks are exact to within 1/8 of the shortest time limit.
CHECKS_PER_LIMIT = 8
# Connections beyond the bound that are only sent a rejection.
REJECTED_AT_ONCE_MAX = 16
LOG_EVERY_SECONDS = 60.0
_AN_INT = bytes(struct.calcsize("i"))
_logger = structlog.get_logger(__name__)


class HttpLimits(msgspec.Struct, frozen=True):
    """Limits of one HTTP connection, and of all connections of a process.

    A request head must arrive within `head_seconds`. A body may take longer than `body_seconds`, and a
    response longer than `write_stall_seconds`, if it moves at least `BYTES_A_SECOND_MIN` on average in each
    such period. `connections_max` 0 derives the limit from the open files limit.
    """

    request_line_bytes_max: int = 16_384
    header_bytes_max: int = 32_768
    headers_max: int = 100
    head_seconds: float = 15
    body_seconds: float = 30
    write_stall_seconds: float = 30
    keep_alive_seconds: float = 75
    connections_max: int = 0
    unsent_bytes_max: int = 128 << 20


BYTES_A_SECOND_MIN = 4_096


class Connection(Protocol):
    """The methods of a connection that `Connections` calls."""

    @property
    def unsent_bytes(self) -> int: ...

    def check_time_limits(self, now: float, elapsed: float) -> None:
        """Closes the connection after a time limit; `elapsed` seconds passed since the last check."""

    def discard(self) -> None:
        """Closes the connection at once, in favour of another."""

    def is_slow(self, now: float) -> bool:
        """Whether its request is incomplete for so long that it may be closed in favour of another."""


class Connections:
    """`idle` has connections without a request, the longest idle first; `_stalled` those that do not read."""

    def __init__(self, limits: HttpLimits, bound: int, loop: asyncio.AbstractEventLoop) -> None:
        self.limits = limits
        self.bound = bound
        self.idle: OrderedDict[Connection, None] = OrderedDict()
        self._open: OrderedDict[Connection, None] = OrderedDict()
        self._stalled: OrderedDict[Connection, None] = OrderedDict()
        self._rejected: OrderedDict[Connection, None] = OrderedDict()
        self.loop = loop
        self._checked_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._rejected_count = 0
        self._log_after = 0.0

    def __len__(self) -> int:
        return len(self._open)

    def enter(self, connection: Connection) -> bool:
        """Whether the connection is admitted. At the bound, the longest idle one is closed to make room."""
        is_admitted = len(self._open) < self.bound or self._make_room()
        if is_admitted:
            self._open[connection] = None
            self.idle[connection] = None
        else:
            self._reject(connection)
        if self._timer is None:
            self._checked_at = self.loop.time()
            self._timer = self.loop.call_later(self._check_interval(), self._check)
        return is_admitted

    def leave(self, connection: Connection) -> None:
        for group in (self._open, self.idle, self._stalled, self._rejected):
            group.pop(connection, None)
        if self._timer and not self._open and not self._rejected:
            self._timer.cancel()
            self._timer = None

    def add_stalled(self, connection: Connection) -> None:
        """For a client that does not read. Closes the longest stalled ones beyond `unsent_bytes_max`."""
        self._stalled[connection] = None
        unsent = sum(stalled.unsent_bytes for stalled in self._stalled)
        while unsent > self.limits.unsent_bytes_max and self._stalled:
            longest = next(iter(self._stalled))
            unsent -= longest.unsent_bytes
            self.leave(longest)
            longest.discard()

    def remove_stalled(self, connection: Connection) -> None:
        self._stalled.pop(connection, None)

    def _make_room(self) -> bool:
        now = self.loop.time()
        victim = next(iter(self.idle), None) or next((c for c in self._open if c.is_slow(now)), None)
        if victim is None:
            return False
        self.leave(victim)
        victim.discard()
        return True

    def _reject(self, connection: Connection) -> None:
        self._rejected[connection] = None
        self._rejected_count += 1
        while len(self._rejected) > REJECTED_AT_ONCE_MAX:
            self._rejected.popitem(last=False)[0].discard()
        now = self.loop.time()
        if now >= self._log_after:
            self._log_after = now + LOG_EVERY_SECONDS
            _logger.warning("connections refused", bound=self.bound, refused=self._rejected_count)
            self._rejected_count = 0

    def _check(self) -> None:
        now = self.loop.time()
        elapsed, self._checked_at = now - self._checked_at, now
        self._timer = self.loop.call_later(self._check_interval(), self._check)
        for connection in (*self._open, *self._rejected):
            connection.check_time_limits(now, elapsed)

    def _check_interval(self) -> float:
        limits, keep_alive = self.limits, self.limits.keep_alive_seconds or CHECK_SECONDS_MAX
        shortest = min(limits.head_seconds, limits.body_seconds, limits.write_stall_seconds, keep_alive)
        return min(CHECK_SECONDS_MAX, max(CHECK_SECONDS_MIN, shortest / CHECKS_PER_LIMIT))


class TransferRate:
    """Distinguishes a slow client from a stopped one by the bytes transferred in each period."""

    def __init__(self, now: float, transferred: int = 0) -> None:
        self._began = now
        self._transferred = transferred

    def pause(self, seconds: float) -> None:
        """Excludes time in which the client could not transfer anything."""
        self._began += seconds

    def has_stopped(self, now: float, transferred: int, seconds: float) -> bool:
        """Whether a period of `seconds` ended with less than `BYTES_A_SECOND_MIN`; then the next begins."""
        if now - self._began <= seconds:
            return False
        has_stopped = transferred - self._transferred < BYTES_A_SECOND_MIN * seconds
        self._began, self._transferred = now, transferred
        return has_stopped


def unacknowledged_bytes(transport: asyncio.Transport) -> int:
    """Bytes in the transport's buffer and, where the system reports them, in the socket's send queue."""
    buffered = transport.get_write_buffer_size()
    try:
        descriptor = transport.get_extra_info("socket").fileno()
        queued = fcntl.ioctl(descriptor, termios.TIOCOUTQ, _AN_INT)
    except (OSError, ValueError, AttributeError):
        return buffered
    return buffered + int(struct.unpack("i", queued)[0])
