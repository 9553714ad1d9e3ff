"""Limits of HTTP connections."""

import msgspec


class HttpLimits(msgspec.Struct, frozen=True):
    """Limits of one HTTP connection, and of all connections of a process.

    A request head must arrive within `head_seconds`. A body may take longer than `body_seconds`, and a response longer
    than `write_stall_seconds`, if it moves at least `BYTES_A_SECOND_MIN` on average in each such period.
    `connections_max` 0 derives the limit from the open files limit.
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
