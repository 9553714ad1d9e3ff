"""Tells a slow client from one that has stopped: within each period enough bytes must move."""

import asyncio
import fcntl
import struct
import termios

from huajuan.http.limits import BYTES_A_SECOND_MIN

_AN_INT = bytes(struct.calcsize("i"))


class Progress:
    """Bytes that have moved since the current period began."""

    def __init__(self, now: float, moved: int = 0) -> None:
        self._began = now
        self._moved = moved

    def pause(self, seconds: float) -> None:
        """The client could not move anything for so long."""
        self._began += seconds

    def has_stopped(self, now: float, moved: int, seconds: float) -> bool:
        """Whether a period of `seconds` has ended with less than `BYTES_A_SECOND_MIN`. The next one begins then."""
        if now - self._began <= seconds:
            return False
        has_stopped = moved - self._moved < BYTES_A_SECOND_MIN * seconds
        self._began, self._moved = now, moved
        return has_stopped


def unread_bytes(transport: asyncio.Transport) -> int:
    """What is kept here, and where the system tells, what the client has not acknowledged."""
    kept = transport.get_write_buffer_size()
    try:
        descriptor = transport.get_extra_info("socket").fileno()
        told = fcntl.ioctl(descriptor, termios.TIOCOUTQ, _AN_INT)
    except (OSError, ValueError, AttributeError):
        return kept
    return kept + int(struct.unpack("i", told)[0])
