"""The bounds of what is served without an end, each with its unit."""

import msgspec


class StreamLimits(msgspec.Struct, frozen=True):
    """Streams of events: how many a process, and how many an account in it, may have open.

    `look_seconds` is how long one waits, unless woken, before it looks round.
    """

    open_max: int = 200
    account_open_max: int = 10
    look_seconds: float = 1
    heartbeat_seconds: float = 15


class HttpLimits(msgspec.Struct, frozen=True):
    """Bounds of one HTTP connection, and of all connections of a process.

    A head must arrive within `head_seconds`. A body may take longer than `body_seconds`, and a reply longer than
    `write_stall_seconds`, while it moves at least `BYTES_A_SECOND_MIN` on average in each such period.
    `connections_max` 0 derives the bound from the open files limit.
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
